"""Demand over gRPC: an external scaler, as KEDA calls it."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, NoReturn

from grpc import StatusCode

from outlast_workers.demand import externalscaler as keda
from outlast_workers.demand.board import Board
from outlast_workers.demand.demand import Demand, Question, Words, read_question
from outlast_workers.demand.reading import NotRead

WORDS = Words(
    task_queue="taskQueue",
    deployment="workerDeploymentName",
    build_id="workerDeploymentBuildId",
    types="queueTypes",
    slots="slotsPerWorker",
    activation="activationDemand",
)

FOR_KEDA = frozenset({"scalerAddress", "enableTLS", "unsafeSsl", "tlsCertFile"})
"""What a trigger says to KEDA itself, which hands it on with the rest."""

METRIC = "outlast-demand"


@dataclass(frozen=True)
class DemandScaler:
    """Answers KEDA from the board; UNAVAILABLE makes KEDA use the `fallback` of its object."""

    board: Board
    usual_slots: Callable[[str], int]

    async def is_active(self, request: Any, context: keda.Context) -> Any:
        """Say whether any worker is needed."""
        question = await self._question(request, context)
        return _activity(question, await self._demand(question, context))

    async def stream_is_active(self, request: Any, context: keda.Context) -> AsyncIterator[Any]:
        """Say so now, and whenever a poll shows that it has changed."""
        question = await self._question(request, context)
        told = None
        while not self.board.is_closed:
            activity = _activity(question, await self._demand(question, context))
            if activity != told:
                yield activity
                told = activity
            await self.board.next_poll()

    async def get_metric_spec(self, request: Any, context: keda.Context) -> Any:
        """Say what one worker can take; needs no reading."""
        slots = (await self._question(request, context)).slots
        spec = keda.MetricSpec(metricName=METRIC, targetSize=slots, targetSizeFloat=float(slots))
        return keda.GetMetricSpecResponse(metricSpecs=[spec])

    async def get_metrics(self, request: Any, context: keda.Context) -> Any:
        """Say what all workers together have to take."""
        question = await self._question(request.scaledObjectRef, context)
        demand = (await self._demand(question, context)).demand
        value = keda.MetricValue(
            metricName=request.metricName or METRIC,
            metricValue=demand,
            metricValueFloat=float(demand),
        )
        return keda.GetMetricsResponse(metricValues=[value])

    async def _question(self, request: Any, context: keda.Context) -> Question:
        said = {key: value for key, value in request.scalerMetadata.items() if key not in FOR_KEDA}
        try:
            return read_question(said, WORDS, usual_slots=self.usual_slots)
        except ValueError as error:
            await _refuse(context, StatusCode.INVALID_ARGUMENT, str(error))

    async def _demand(self, question: Question, context: keda.Context) -> Demand:
        try:
            latest = await self.board.latest(question.target)
        except NotRead as error:
            await _refuse(context, StatusCode.UNAVAILABLE, str(error))
        return question.answer(latest.reading)


def _activity(question: Question, demand: Demand) -> Any:
    return keda.IsActiveResponse(result=demand.demand > question.activation)


async def _refuse(context: keda.Context, code: StatusCode, reason: str) -> NoReturn:
    await context.abort(code, reason)
    raise AssertionError("abort raises")

"""Demand over gRPC: an external scaler for KEDA."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any, NoReturn

from grpc import StatusCode

from outlast_workers.demand import keda_protocol as keda
from outlast_workers.demand.access import Token
from outlast_workers.demand.demand_query import Demand, DemandQuery, ParameterNames, parse_query
from outlast_workers.demand.http_api import NOT_WATCHED
from outlast_workers.demand.reading_cache import ReadingCache
from outlast_workers.demand.temporal_source import ReadingFailed

PARAMETER_NAMES = ParameterNames(
    task_queue="taskQueue",
    deployment="workerDeploymentName",
    build_id="workerDeploymentBuildId",
    types="queueTypes",
    slots="slotsPerWorker",
    activation="activationDemand",
)

KEDA_KEYS = frozenset({"scalerAddress", "enableTLS", "unsafeSsl"})
"""Keys of a trigger that KEDA itself uses. It passes them on with the others."""

TOKEN_KEY = "tokenFromEnv"  # noqa: S105 the name of a key
"""The trigger names a variable of the scaled pods here. KEDA replaces the name by the variable's value."""

UTILIZATION_KEY = "targetUtilization"
"""Percent of a worker's slots that scaling aims at. The HPA ignores a deviation of up to 10 %."""

METRIC = "outlast-demand"

NO_TOKEN = (
    f"this service needs a token: name its variable as {TOKEN_KEY} in the trigger's metadata, send it as "
    "the metadata `authorization: Bearer TOKEN`, or use a client certificate (demand.tls.client_ca)"
)


@dataclass(frozen=True)
class DemandScaler:
    """Answers KEDA from the cache. On UNAVAILABLE, KEDA applies the `fallback` of its object."""

    cache: ReadingCache
    default_slots: Callable[[str], int]
    token: Token = field(default_factory=lambda: Token(None))

    async def is_active(self, request: Any, context: keda.Context) -> Any:
        """Return whether any worker is needed."""
        query = await self._parse(request, context)
        return _activity(query, await self._demand(query, context))

    async def stream_is_active(self, request: Any, context: keda.Context) -> AsyncIterator[Any]:
        """Yield whether any worker is needed: now, and after each poll that changes the answer."""
        query = await self._parse(request, context)
        last_sent = None
        while not self.cache.is_closed:
            activity = _activity(query, await self._demand(query, context))
            if activity != last_sent:
                yield activity
                last_sent = activity
            await self.cache.next_poll()

    async def get_metric_spec(self, request: Any, context: keda.Context) -> Any:
        """Return the slots of one worker. This needs no reading."""
        slots = (await self._parse(request, context)).slots
        target = slots * await self._utilization(request, context)
        spec = keda.MetricSpec(
            metricName=METRIC, targetSize=max(1, int(target)), targetSizeFloat=target
        )
        return keda.GetMetricSpecResponse(metricSpecs=[spec])

    async def get_metrics(self, request: Any, context: keda.Context) -> Any:
        """Return the slots that all workers together need."""
        query = await self._parse(request.scaledObjectRef, context)
        demand = (await self._demand(query, context)).demand
        value = keda.MetricValue(
            metricName=request.metricName or METRIC,
            metricValue=demand,
            metricValueFloat=float(demand),
        )
        return keda.GetMetricsResponse(metricValues=[value])

    async def _parse(self, request: Any, context: keda.Context) -> DemandQuery:
        header = dict(context.invocation_metadata() or ()).get("authorization")
        presented = request.scalerMetadata.get(TOKEN_KEY)
        if not (self.token.is_bearer(header) or self.token.admits(presented)):
            await _abort(context, StatusCode.UNAUTHENTICATED, NO_TOKEN)
        own = KEDA_KEYS | {TOKEN_KEY, UTILIZATION_KEY}
        parameters = {key: text for key, text in request.scalerMetadata.items() if key not in own}
        try:
            return parse_query(parameters, PARAMETER_NAMES, default_slots=self.default_slots)
        except ValueError as error:
            await _abort(context, StatusCode.INVALID_ARGUMENT, str(error))

    async def _utilization(self, request: Any, context: keda.Context) -> float:
        text = request.scalerMetadata.get(UTILIZATION_KEY, "100")
        is_number = text.isascii() and text.isdigit() and len(text) <= 3
        if not is_number or not 1 <= int(text) <= 100:
            reason = f"{UTILIZATION_KEY} must be a whole number from 1 to 100, not {text[:40]!r}"
            await _abort(context, StatusCode.INVALID_ARGUMENT, reason)
        return int(text) / 100

    async def _demand(self, query: DemandQuery, context: keda.Context) -> Demand:
        if not self.cache.admits(query.target):
            await _abort(context, StatusCode.NOT_FOUND, NOT_WATCHED)
        try:
            latest = await self.cache.latest(query.target)
        except ReadingFailed as error:
            await _abort(context, StatusCode.UNAVAILABLE, str(error))
        return query.evaluate(latest.reading)


def _activity(query: DemandQuery, demand: Demand) -> Any:
    return keda.IsActiveResponse(result=demand.demand > query.activation)


async def _abort(context: keda.Context, code: StatusCode, reason: str) -> NoReturn:
    await context.abort(code, reason)
    raise AssertionError("abort raises")

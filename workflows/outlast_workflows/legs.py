"""Legs: a step is tried on each leg of its route until a worker takes it. Cold legs are skipped."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from typing import TypeVar

from outlast_activities.resolve import COLD_LEGS
from temporalio import workflow
from temporalio.exceptions import ActivityError

from outlast.contracts.agents import Leg, Route
from outlast.contracts.results import ServedLeg
from outlast.errors import NoWorker
from outlast_workflows.activity_options import start_timeout_of, was_not_started
from outlast_workflows.run_metrics import count_spillover

COLD_FOR = timedelta(minutes=1)
"""How long a leg is skipped after no worker took a step there in time: about the start of a worker."""

_Result = TypeVar("_Result")


class Legs:
    """Serves the steps of one run over the legs of their routes.

    It changes two values of the run's state: `cold` (until when a task queue is skipped) and `served`.
    """

    def __init__(self, cold: dict[str, datetime], served: dict[str, ServedLeg]) -> None:
        self._cold = cold
        self._served = served

    async def serve(
        self,
        route: Route,
        *,
        step: str,
        start: Callable[[Leg], Awaitable[_Result]],
        waited_s: Callable[[_Result], float],
        moves_on: Callable[[ActivityError], bool],
    ) -> _Result:
        """Start a step on one leg after the other until one serves it, and return its result.

        `moves_on` decides which failures the next leg may repair. `waited_s` returns how long the step
        waited for its worker. Raises `NoWorker` if no worker took the step on any leg, or else the error
        of the step.
        """
        tried = warm_legs(route, self._cold, workflow.now())
        for leg in tried:
            try:
                # Other steps of the same decision run meanwhile, and change `cold` and `served` too. Both
                # are read and written without an await between.
                result = await start(leg)
            except ActivityError as error:
                is_last = leg is route.legs[-1]
                if was_not_started(error):
                    self._note_cold(leg)
                elif is_last or not moves_on(error):
                    raise
                if not is_last:
                    count_spillover(leg.task_queue)
            else:
                self._count(leg, steps=1, waited_s=waited_s(result))
                return result
        raise NoWorker(f"{step}: no worker took it on {_description(route, tried)}")

    def count_local(self, leg: Leg) -> None:
        """Count a step that ran in the process of the run itself, which serves the first leg."""
        self._count(leg, steps=1)

    def _note_cold(self, leg: Leg) -> None:
        self._count(leg, passed_on=1)
        until = workflow.now() + COLD_FOR
        self._cold[leg.task_queue] = until
        if not workflow.unsafe.is_replaying():
            COLD_LEGS.note(leg.task_queue, until=until)

    def _count(self, leg: Leg, *, steps: int = 0, waited_s: float = 0, passed_on: int = 0) -> None:
        served = self._served.get(leg.task_queue, ServedLeg(task_queue=leg.task_queue))
        self._served[leg.task_queue] = served.model_copy(
            update={
                "steps": served.steps + steps,
                "waited_s": round(served.waited_s + waited_s, 3),
                "passed_on": served.passed_on + passed_on,
            }
        )


def _description(route: Route, tried: list[Leg]) -> str:
    each = (
        f"{leg.task_queue!r} within {start_timeout_of(leg, route).total_seconds():g} s"
        if leg in tried
        else f"{leg.task_queue!r}, which lately had none"
        for leg in route.legs
    )
    return ", ".join(each)


def warm_legs(route: Route, cold: Mapping[str, datetime], now: datetime) -> list[Leg]:
    """Return the legs to try, without the cold ones. The last leg is always tried."""
    last = route.legs[-1]
    return [
        leg
        for leg in route.legs
        if leg is last or leg.task_queue not in cold or cold[leg.task_queue] <= now
    ]

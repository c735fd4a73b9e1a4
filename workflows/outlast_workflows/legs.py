"""Legs: a step is tried on each until a worker takes it, and what was cold lately is passed over."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from typing import TypeVar

from outlast_activities.cold_legs import COLD_LEGS
from temporalio import workflow
from temporalio.exceptions import ActivityError

from outlast.contracts.agents import Leg, Route
from outlast.contracts.results import ServedLeg
from outlast.errors import NoWorker
from outlast_workflows.activity_options import wait_on, was_not_started
from outlast_workflows.state import RunState

COLD_FOR = timedelta(minutes=1)
"""How long a leg is passed over on which no worker took a step in time: about what one takes to start."""

_Result = TypeVar("_Result")


class Legs:
    """Serves the steps of one run over the legs of their routes."""

    def __init__(self, state: RunState) -> None:
        self._state = state

    async def serve(
        self,
        route: Route,
        *,
        what: str,
        start: Callable[[Leg], Awaitable[_Result]],
        waited_s: Callable[[_Result], float],
        moves_on: Callable[[ActivityError], bool],
    ) -> _Result:
        """Start a step on each leg in turn until one serves it, and return its result.

        `moves_on` says of which failures the next leg may make good, `waited_s` how long the step waited
        for its worker. Raises `NoWorker` when no worker took it on the last leg either, or else the error
        of the step.
        """
        tried = warm_legs(route, self._state.cold, workflow.now())
        for leg in tried:
            try:
                result = await start(leg)
            except ActivityError as error:
                last = leg is route.legs[-1]
                if was_not_started(error):
                    self._note_cold(leg)
                elif last or not moves_on(error):
                    raise
            else:
                self._count(leg, steps=1, waited_s=waited_s(result))
                return result
        raise NoWorker(f"{what}: no worker took it on {_told(route, tried)}")

    def _note_cold(self, leg: Leg) -> None:
        self._count(leg, passed_on=1)
        until = workflow.now() + COLD_FOR
        self._state.cold[leg.task_queue] = until
        if not workflow.unsafe.is_replaying():
            COLD_LEGS.note(leg.task_queue, until=until)

    def _count(self, leg: Leg, *, steps: int = 0, waited_s: float = 0, passed_on: int = 0) -> None:
        known = self._state.legs.get(leg.task_queue, ServedLeg(task_queue=leg.task_queue))
        self._state.legs[leg.task_queue] = known.model_copy(
            update={
                "steps": known.steps + steps,
                "waited_s": round(known.waited_s + waited_s, 3),
                "passed_on": known.passed_on + passed_on,
            }
        )


def _told(route: Route, tried: list[Leg]) -> str:
    each = (
        f"{leg.task_queue!r} within {wait_on(leg, route).total_seconds():g} s"
        if leg in tried
        else f"{leg.task_queue!r}, which lately had none"
        for leg in route.legs
    )
    return ", ".join(each)


def warm_legs(route: Route, cold: Mapping[str, datetime], now: datetime) -> list[Leg]:
    """Return the legs that are worth a try: the last one always is, for nothing comes after it."""
    last = route.legs[-1]
    return [
        leg
        for leg in route.legs
        if leg is last or leg.task_queue not in cold or cold[leg.task_queue] <= now
    ]

"""Compensation: undoes the effects of a run that does not complete, the last one first."""

import asyncio
import contextlib
import json
from typing import Literal

from temporalio.exceptions import FailureError, is_cancelled_exception

from outlast.contracts.effects import RESULT
from outlast.contracts.results import CompensationOutcome
from outlast.jsonschema.schemas import Schema
from outlast_workflows.calls.call_batch import PlannedCall
from outlast_workflows.calls.companion_calls import arguments_for, audience_of, undo_call
from outlast_workflows.calls.tool_activities import ToolActivities, UnreadableResult
from outlast_workflows.people.human_requests import HumanRequests
from outlast_workflows.people.outcomes import question_outcome
from outlast_workflows.run_display import RunDisplay
from outlast_workflows.state import UndoStep
from outlast_workflows.step_failures import cause_of

MAX_UNDO = 100
"""Effects of one run that can be undone. Each one is carried until the run ends."""

UNDONE_BY_HAND = "undone by hand"
UNDO_ANSWER: Schema = {"type": "string", "enum": [UNDONE_BY_HAND, "left as it is"]}
"""The answers of a person about an effect that its companion tool could not undo."""


class Compensation:
    """The effects of one run that can be undone; `steps` is part of the run's state."""

    def __init__(
        self,
        steps: list[UndoStep],
        activities: ToolActivities,
        requests: HumanRequests,
        display: RunDisplay,
    ) -> None:
        self._steps = steps
        self._activities = activities
        self._requests = requests
        self._display = display
        self._notes: list[CompensationOutcome] = []

    @property
    def is_full(self) -> bool:
        """Whether the run has as many effects to undo as it may have."""
        return len(self._steps) >= MAX_UNDO

    def record(self, call: PlannedCall, result: str | None) -> None:
        """Record how a call that happened is undone; `result` is its JSON text, None if unknown."""
        companion = call.tool.compensate
        if companion is None:
            return
        arguments = arguments_for(companion, call.arguments)
        if RESULT in companion.takes and result is not None:
            arguments[RESULT] = json.loads(result)
        self._steps.append(
            UndoStep(
                call_id=call.id,
                tool=call.tool.name,
                companion=companion,
                arguments=arguments,
                route=self._activities.route_of(call.tool),
                audience=audience_of(call.tool),
                nonce=call.proof.nonce if call.proof else "",
                key=self._activities.keys.key_of(call),
            )
        )

    def note(self, call: PlannedCall, outcome: Literal["unknown", "not_made"], detail: str) -> None:
        """Note what became of a call that the end of the run interrupted: the result names it."""
        noted = CompensationOutcome(
            call_id=call.id, tool=call.tool.name, outcome=outcome, detail=detail
        )
        self._notes.append(noted)

    def clear(self) -> None:
        """Forget all effects: the run has answered, so they stay."""
        self._steps.clear()

    async def run(self) -> list[CompensationOutcome]:
        """Undo all effects, even if the run is cancelled meanwhile. Return their outcomes and the notes.

        A run is cancelled once, and there is nothing left to stop. So the compensation runs in a task of
        its own, and a cancellation of the run's task while it waits is dropped.
        """
        if not self._steps:
            return self._notes
        task = asyncio.ensure_future(self._undo_all())
        while not task.done():
            with contextlib.suppress(asyncio.CancelledError):
                # The handler of `decide` runs meanwhile, and settles requests about failed compensations.
                # The steps are changed by this task alone: no tool call is running any more.
                await asyncio.shield(task)
        return [*task.result(), *self._notes]

    async def _undo_all(self) -> list[CompensationOutcome]:
        outcomes = []
        while self._steps:
            step = self._steps[-1]
            self._display.show("acting", f"undoes {step.tool} (call {step.call_id})")
            outcomes.append(await self._undo(step))
            self._steps.pop()
        return outcomes

    async def _undo(self, step: UndoStep) -> CompensationOutcome:
        call = undo_call(step)
        try:
            # No other step runs meanwhile: one effect is undone after the other.
            await self._activities.execute(call)
        except UnreadableResult:
            pass  # it was undone, and nobody reads the result
        except (FailureError, ValueError) as error:
            if is_cancelled_exception(error):
                raise asyncio.CancelledError from error
            return await self._undo_by_hand(step, call, cause_of(error))
        return CompensationOutcome(call_id=step.call_id, tool=step.tool, outcome="undone")

    async def _undo_by_hand(
        self, step: UndoStep, call: PlannedCall, cause: str
    ) -> CompensationOutcome:
        settled, answer = await self._requests.ask_about(
            call,
            question=f"{call.tool.name} could not undo {step.tool} (call {step.call_id}): {cause}",
            answer_schema=UNDO_ANSWER,
            audience=step.audience,
        )
        return CompensationOutcome(
            call_id=step.call_id,
            tool=step.tool,
            outcome="undone_by_hand" if answer == UNDONE_BY_HAND else "not_undone",
            detail=f"{cause}; {question_outcome(settled)}",
        )

"""Calls that change something: they are waited for when their run ends, so that they can be undone."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from temporalio import workflow
from temporalio.exceptions import ActivityError, is_cancelled_exception

from outlast.contracts.effects import EFFECTFUL
from outlast.errors import ToolFailed
from outlast_workflows.calls.call_batch import PlannedCall
from outlast_workflows.calls.compensation import Compensation
from outlast_workflows.calls.tool_activities import ToolActivities, UnreadableResult
from outlast_workflows.calls.unknown_outcomes import UnknownOutcomes
from outlast_workflows.step_failures import (
    error_result,
    is_unknown,
    was_guarded_only,
    was_never_begun,
)

MAX_REPEATS = 3
"""How often a call is repeated that did not happen, because its worker was lost each time."""

OUTLIVES_PATCH = "effects-outlive-cancellation"

LOOP_PASSES = 20
"""Passes of the event loop until everything of one workflow task has reached the coroutine that waits for
it. It takes about five."""

_Result = TypeVar("_Result")


class EffectCalls:
    """Makes the calls of one run that change something, and records what it takes to undo them."""

    def __init__(
        self, activities: ToolActivities, compensation: Compensation, outcomes: UnknownOutcomes
    ) -> None:
        self._activities = activities
        self._compensation = compensation
        self._outcomes = outcomes
        self._cancelled: set[str] = set()

    async def run(self, call: PlannedCall) -> str:
        """Return the result of a call as JSON text, and record its effect.

        If the run is cancelled or reaches its deadline during the call, a call that no worker has taken
        is cancelled. Otherwise the run waits for the call, finds out what happened if its worker is lost,
        and records the effect. Only then the cancellation continues.
        """
        call.batch.started.add(call.id)
        work = self._result_of(call)
        if not workflow.patched(OUTLIVES_PATCH):
            return await work
        return await uninterrupted(work, on_cancel=lambda: self._cancel(call))

    def _cancel(self, call: PlannedCall) -> None:
        self._cancelled.add(call.id)
        self._activities.cancel(call.id)
        if call.tool.compensate is None:
            # Nobody needs to know whether the call happened: nothing undoes it.
            call.batch.is_broken = True

    async def _result_of(self, call: PlannedCall) -> str:
        try:
            for attempt in range(1, 2 + MAX_REPEATS):
                result = await self._attempt(call, attempt)
                if result is not None:
                    return result
                if call.id in self._cancelled:
                    raise asyncio.CancelledError
        except ToolFailed as error:
            if call.id in self._cancelled:
                self._compensation.note(call, "unknown", str(error.message))
            raise
        raise ToolFailed(
            f"{call.tool.name} (call {call.id}): its worker was lost {1 + MAX_REPEATS} times"
        )

    async def _attempt(self, call: PlannedCall, attempt: int) -> str | None:
        """Return the result of a call, or None if its worker was lost and the call did not happen."""
        try:
            # Other calls of the batch, and all handlers, run meanwhile. They share the record of effects,
            # to which each adds in one step without an await.
            result = await self._activities.execute(call)
        except UnreadableResult as error:
            self._compensation.record(call, None)
            return error.text_for_model()
        except ActivityError as error:
            if was_never_begun(error):
                call.batch.started.discard(call.id)
                raise asyncio.CancelledError from error
            if was_guarded_only(error):
                if call.id in self._cancelled:
                    call.batch.started.discard(call.id)
                return None
            if not is_unknown(error, call.tool):
                return error_result(error, call.tool, call.id)
            if call.tool.effect not in EFFECTFUL:
                # To undo what did not happen is harmless, or fails and is put to a person.
                self._compensation.record(call, None)
                if is_cancelled_exception(error):
                    raise asyncio.CancelledError from error
                return error_result(error, call.tool, call.id)
            return await self._outcomes.find_out(call, error, attempt)
        self._compensation.record(call, result)
        return result


async def uninterrupted(
    work: Coroutine[Any, Any, _Result], *, on_cancel: Callable[[], None]
) -> _Result:
    """Return what `work` returns, even if this task is cancelled meanwhile.

    `on_cancel` is called at the first cancellation, unless the work ends in the same workflow task. The
    cancellation continues when the work has ended. Errors of the work are then ignored.
    """
    task = asyncio.ensure_future(work)
    is_cancelled = False
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            if is_cancelled or task.done():
                continue
            is_cancelled = True
            # A result may have come in the same workflow task. To cancel now would lose it.
            for _ in range(LOOP_PASSES):
                await _pass()
            if not task.done():
                on_cancel()
    if is_cancelled:
        if not task.cancelled():
            task.exception()  # mark it as seen
        raise asyncio.CancelledError
    return task.result()


async def _pass() -> None:
    try:
        await asyncio.sleep(0)
    except asyncio.CancelledError:  # another cancellation, which is one too many
        return

"""Time limits of a run, whose timers have a name in the Temporal UI."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from temporalio import workflow

NAMED_PATCH = "time-limits-have-names"

SHORTEST_TIMER_S = 0.001
"""The server starts no timer without a duration."""

DEADLINE_SUMMARY = "deadline: the run stops"
"""What the UI shows beside the timer of a run's deadline."""


def are_named() -> bool:
    """Return whether the timers of this run have names."""
    return workflow.patched(NAMED_PATCH)


@contextlib.asynccontextmanager
async def time_limit(after_s: float | None, summary: str) -> AsyncIterator[None]:
    """Raise `TimeoutError` when a block takes longer; the UI shows `summary` beside the timer.

    `asyncio.timeout` cannot name its timer. So a task sleeps, and makes the timeout expire.
    """
    if not after_s or not are_named():
        async with asyncio.timeout(after_s):
            yield
        return
    async with asyncio.timeout(None) as limit:
        # The task changes nothing but `limit`.
        timer = asyncio.ensure_future(
            workflow.sleep(max(after_s, SHORTEST_TIMER_S), summary=summary)
        )
        timer.add_done_callback(lambda ended: _expire(limit, ended))
        try:
            yield
        finally:
            timer.cancel()


def _expire(limit: asyncio.Timeout, timer: "asyncio.Future[None]") -> None:
    if timer.cancelled():
        return
    with contextlib.suppress(RuntimeError):  # the block ended in the workflow task of the timer
        limit.reschedule(asyncio.get_running_loop().time())

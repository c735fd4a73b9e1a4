"""One call of a user's code in a thread or on a loop: how it ends, also if it is cancelled."""

import asyncio
import contextlib
import contextvars
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Self

from temporalio import activity

from outlast.agents.tools import Tool
from outlast_activities.tool_failures import as_failure
from outlast_activities.tool_loop import ToolLoop

ENDS_WITHIN_S = 3.0
"""How long a cancelled call may take to end. It is less than a worker that shuts down gives."""

LATE_ENDS_WITHIN_S = 0.1
"""How long a call that exceeded its timeout may take to end: its failure must reach the server in time."""

CHECK_S = 0.5
"""How often a call looks whether its event loop is blocked."""

RESTART_AFTER_S = 5.0
"""A call that waits so long for a loop that another tool blocks begins again on another loop, if it may be
repeated."""


@dataclass(frozen=True)
class Code:
    """Code of a user: of a tool, or such as a hook or a check, which are plain code without an effect."""

    name: str
    is_async: bool = False
    must_end: bool = False

    @classmethod
    def of(cls, tool: Tool[Any, ..., Any]) -> Self:
        """Return the code of a tool."""
        return cls(tool.name, tool.is_async, tool.spec.must_end)


@dataclass(frozen=True)
class Outcome:
    """How code of a tool ended. As a value it passes through futures that could not hold the exception."""

    value: Any = None
    error: BaseException | None = None


class Withdrawn(Exception):
    """Raised when a call has not begun on a loop that is blocked."""


class LoopCall:
    """One call on a loop. Either the loop begins it, or the worker withdraws it: a token decides."""

    def __init__(
        self,
        code: Code,
        loop: ToolLoop,
        make: Callable[[], Awaitable[Any]],
        end: Callable[[Outcome], None],
    ) -> None:
        self._code = code
        self._loop = loop
        self._make = make
        self._end = end
        self._token = [True]
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Begin the call, on its loop."""
        if self._take_token():
            self._task = asyncio.get_running_loop().create_task(self._contained())

    def check(self) -> None:
        """Raise `Withdrawn` if the loop is blocked, and the call has not begun or may begin again."""
        loop = self._loop
        if not loop.check():
            return
        if self._take_token():
            raise Withdrawn
        is_late = loop.blocked_s > RESTART_AFTER_S and loop.blocker != self._code.name
        if is_late and not self._code.must_end:
            self.cancel()
            raise Withdrawn

    def cancel(self) -> None:
        """Cancel the call, if it has begun."""
        if not self._take_token():
            self._loop.run(lambda: self._task and self._task.cancel(), contextvars.copy_context())

    def _take_token(self) -> bool:
        try:
            return self._token.pop()  # atomic between threads
        except IndexError:
            return False

    async def _contained(self) -> None:
        try:
            outcome = Outcome(await self._make())
        except BaseException as error:  # noqa: BLE001 nothing that a tool raises may pass
            outcome = Outcome(error=error)
        self._end(outcome)


def outcome_future() -> tuple[asyncio.Future[Outcome], Callable[[Outcome], None]]:
    """Return a future of the worker's loop, and a function that sets it from another thread."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Outcome] = loop.create_future()

    def settle(outcome: Outcome) -> None:
        if not future.done():
            future.set_result(outcome)

    def end(outcome: Outcome) -> None:
        with contextlib.suppress(RuntimeError):  # the worker has ended, and its loop is closed
            loop.call_soon_threadsafe(settle, outcome)

    return future, end


async def value_of(
    code: Code,
    ended: asyncio.Future[Outcome],
    *,
    check: Callable[[], None] = lambda: None,
    cancel: Callable[[], None] = lambda: None,
) -> Any:
    """Wait until a call ends; return its value, or raise its error as an `ApplicationError`."""
    while not ended.done():
        try:
            await asyncio.wait([ended], timeout=CHECK_S)
            if not ended.done():
                check()
        except asyncio.CancelledError:
            if _is_waited_for(code):
                continue
            cancel()
            await asyncio.wait([ended], timeout=_time_to_end(code))
            if not ended.done() or isinstance(ended.result().error, asyncio.CancelledError):
                raise
    outcome = ended.result()
    if outcome.error is None:
        return outcome.value
    raise as_failure(outcome.error)


def _is_waited_for(code: Code) -> bool:
    """Tell whether the run was cancelled during a call with an effect, which then ends by itself.

    To cancel it would leave unknown whether it happened. Its timeout bounds the wait.
    """
    if not code.must_end or not activity.in_activity():
        return False
    details = activity.cancellation_details()
    return (
        details is not None
        and details.cancel_requested
        and not (details.worker_shutdown or details.timed_out or details.not_found)
    )


def _time_to_end(code: Code) -> float:
    """Return how long a cancelled call may take to end."""
    if not activity.in_activity() or activity.cancellation_details() is None:
        return LATE_ENDS_WITHIN_S  # it exceeded its timeout
    if code.is_async or activity.is_worker_shutdown():
        return ENDS_WITHIN_S
    return LATE_ENDS_WITHIN_S

"""Runs the code of tools apart from the worker: plain functions in threads, async ones on their own loop.

The worker's event loop goes on, whatever a tool does or raises. Each exception becomes a failure with its
cause in one line. That includes `SystemExit` and `KeyboardInterrupt`, which end an event loop, and
`StopIteration`, which a future cannot hold.
"""

import asyncio
import contextlib
import contextvars
import inspect
import itertools
import threading
import weakref
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

import structlog
from temporalio import activity
from temporalio.exceptions import ApplicationError

from outlast.agents.dependencies import Dependency
from outlast.agents.run_functions import RunFunction
from outlast.agents.tool_context import RunContext, ToolContext
from outlast.agents.tool_decorator import tool as as_tool
from outlast.agents.tool_parameters import is_async
from outlast.agents.tools import Tool
from outlast.errors import Failure, NotReady, ToolFailed
from outlast_activities.open_dependencies import OpenDependencies
from outlast_activities.tool_failures import as_failure
from outlast_activities.tool_loop import CURRENT_TOOL, ToolLoop

ENDS_WITHIN_S = 3.0
"""How long a cancelled call may take to end. It is less than a worker that shuts down gives."""

LATE_ENDS_WITHIN_S = 0.1
"""How long a call that exceeded its timeout may take to end: its failure must reach the server in time."""

CHECK_S = 0.5
"""How often a call looks whether its event loop is blocked."""

RESTART_AFTER_S = 5.0
"""A call that waits so long for a loop that another tool blocks begins again on another loop, if it may be
repeated."""

MAX_TOOL_LOOPS = 8
"""Event loops of async tools. When tools block all of them, further calls fail on this worker."""

MAX_HUNG_CALLS = 100
"""Plain calls that run although nobody waits for them. With so many, further ones fail on this worker."""

OPEN_WITHIN_S = 30.0
"""How long a dependency may take to open. After it, the worker does not start."""

CLOSE_WITHIN_S = 2.0
"""How long dependencies may take to close, together, after the worker has drained."""

log = structlog.get_logger("outlast.tools")


@dataclass(frozen=True)
class _Outcome:
    """How code of a tool ended. As a value it passes through futures that could not hold the exception."""

    value: Any = None
    error: BaseException | None = None


class ToolRunner:
    """Runs the calls of one worker's tools."""

    def __init__(
        self,
        *,
        threads: int,
        dependencies: Mapping[str, Dependency[Any]] | None = None,
        agent_dependencies: Mapping[str, Dependency[Any]] | None = None,
    ) -> None:
        self._threads = threads
        self._dependencies = dict(dependencies or {})
        self._agent_dependencies = dict(agent_dependencies or {})
        self._open = OpenDependencies()
        self._loops: list[ToolLoop] = []
        self._owners: dict[ToolLoop, str] = {}
        self._blockers: set[str] = set()
        self._hung: dict[int, str] = {}
        self._numbers = itertools.count()
        weakref.finalize(self, _stop, self._loops)

    async def run(
        self, tool: Tool[Any, ..., Any], arguments: bytes, context: ToolContext | None = None
    ) -> bytes:
        """Call a tool with arguments as JSON; return its result as JSON.

        Raises an `ApplicationError` for whatever the tool raises, and `CancelledError` only if the activity
        is cancelled.
        """
        try:
            return await self._run(tool, arguments, context)
        except ApplicationError as error:
            log.warning("tool.failed", tool=tool.name, error=error.message)
            raise

    async def _run(
        self, tool: Tool[Any, ..., Any], arguments: bytes, context: ToolContext[Any] | None
    ) -> bytes:
        CURRENT_TOOL.set(tool.name)
        dependency = self._dependencies.get(tool.name)
        if tool.is_async:
            return bytes(
                await self._on_loop(tool, lambda: self._invoke_async(tool, arguments, context))
            )
        if context is not None and dependency is not None:
            context = context.with_deps(self._open.shared(dependency))
        result = await self._in_thread(tool, lambda: tool.invoke_plain(arguments, context))
        if isinstance(result, bytes):
            return result
        # A plain function that returns an awaitable, such as an async one in a plain decorator.
        return bytes(await self._on_loop(tool, lambda: _encoded(tool, result)))

    async def __aenter__(self) -> Self:
        """Open the dependencies. Raises `NotReady` if one cannot be opened."""
        needed = (*self._dependencies.values(), *self._agent_dependencies.values())
        try:
            for dependency in dict.fromkeys(needed):
                await self._open_first(dependency)
        except BaseException:
            await self._open.close(within_s=CLOSE_WITHIN_S)
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the dependencies."""
        await self._open.close(within_s=CLOSE_WITHIN_S)

    async def _open_first(self, dependency: Dependency[Any]) -> None:
        try:
            async with asyncio.timeout(OPEN_WITHIN_S):
                await self.call("open", lambda: self._open.value(dependency))
            return
        except TimeoutError:
            reason = f"it took longer than {OPEN_WITHIN_S:g} s"
        except ApplicationError as error:
            reason = f"{error.type}: {error.message}"
        raise NotReady(
            f"the dependency {dependency.name!r} ({dependency.place}) cannot be opened: {reason}"
        )

    async def _invoke_async(
        self, tool: Tool[Any, ..., Any], arguments: bytes, context: ToolContext[Any] | None
    ) -> bytes:
        dependency = self._dependencies.get(tool.name)
        if context is not None and dependency is not None:
            context = context.with_deps(await self._open.value(dependency))
        return await tool.invoke_async(arguments, context)

    async def call(self, name: str, function: Callable[[], Any]) -> Any:
        """Call other code of a user in the same way as a plain tool, and return its value.

        If the function returns an awaitable, it is awaited on the event loop of the async tools.
        """
        values: list[Any] = []

        async def keep_result(result: Awaitable[Any]) -> None:
            values.append(await result)

        def contained() -> None:
            result = function()
            if inspect.isawaitable(result):
                return keep_result(result)  # type: ignore[return-value]  # the runner awaits it
            return values.append(result)

        await self._run(as_tool(effect="read", name=name)(contained), b"{}", None)
        return values[0]

    async def call_for_agent(
        self, agent: str, name: str, function: RunFunction, context: RunContext[Any], value: object
    ) -> Any:
        """Call a check of an agent, or the function of its instructions, with its dependencies."""
        dependency = self._agent_dependencies.get(agent) if function.needs_deps else None
        if dependency is not None and is_async(function.function):
            CURRENT_TOOL.set(name)

            async def call_on_loop() -> Any:
                # What an async dependency opened belongs to the loop of this call.
                opened = context.with_deps(await self._open.value(dependency))
                return await function.function(opened, value)

            return await self._on_loop(as_tool(effect="read", name=name)(_nothing), call_on_loop)
        if dependency is not None:
            context = context.with_deps(self._open.shared(dependency))
        arguments = function.arguments(context, value)
        return await self.call(name, partial(function.function, *arguments))

    def blocked_text(self) -> str:
        """Return which tool blocks an event loop now, in words, or nothing."""
        return "; ".join(loop.blocked_by for loop in self._loops if loop.check())

    async def _in_thread(self, tool: Tool[Any, ..., Any], call: Callable[[], Any]) -> Any:
        """Call plain code in a daemon thread. It cannot be stopped, but a process can end before it."""
        if len(self._hung) >= MAX_HUNG_CALLS:
            raise Failure(
                f"{len(self._hung)} calls hang on this worker, so it takes no more: "
                f"{', '.join(sorted(set(self._hung.values())))}; restart it",
                kind=ToolFailed.__name__,
                retryable=True,
            )
        number, context = next(self._numbers), contextvars.copy_context()
        ended, end = _future()

        def contained() -> None:
            try:
                outcome = _Outcome(context.run(call))
            except BaseException as error:  # noqa: BLE001 nothing that a tool raises may pass
                outcome = _Outcome(error=error)
            self._hung.pop(number, None)
            end(outcome)

        threading.Thread(target=contained, name=f"tool {tool.name}", daemon=True).start()
        try:
            return await _value(tool, ended)
        finally:
            if not ended.done():
                self._hung[number] = tool.name
                log.warning("tool.abandoned", tool=tool.name, reason="its thread does not end")

    async def _on_loop(self, tool: Tool[Any, ..., Any], make: Callable[[], Awaitable[Any]]) -> Any:
        """Run async code on the first loop that is not blocked."""
        while True:  # bounded: each pass takes another loop, and there is a limit of loops
            loop, number = self._free_loop(tool), next(self._numbers)
            ended, end = _future()
            call = _LoopCall(tool, loop, make, end)
            loop.calls[number] = tool.name
            loop.run(call.begin, contextvars.copy_context())
            try:
                return await _value(tool, ended, check=call.check, cancel=call.cancel)
            except _Withdrawn:
                self._blockers.add(loop.blocker)
                log.info("tool.moved", tool=tool.name, reason=loop.blocked_by)
            finally:
                loop.calls.pop(number, None)

    def _free_loop(self, tool: Tool[Any, ..., Any]) -> ToolLoop:
        """Return a loop that is not blocked; a tool that has blocked others gets loops of its own."""
        owner = tool.name if tool.name in self._blockers else ""
        for loop in self._loops:
            if not loop.check() and self._owners.get(loop, "") == owner:
                return loop
            self._blockers |= {loop.blocker} - {""}
        if len(self._loops) >= MAX_TOOL_LOOPS:
            raise Failure(
                f"tools block all event loops of this worker: {self.blocked_text()}; restart it",
                kind=ToolFailed.__name__,
                retryable=True,
            )
        loop = ToolLoop(threads=self._threads)
        self._loops.append(loop)
        self._owners[loop] = owner
        return loop


class _Withdrawn(Exception):
    """Raised when a call has not begun on a loop that is blocked."""


class _LoopCall:
    """One call on a loop. Either the loop begins it, or the worker withdraws it: a token decides."""

    def __init__(
        self,
        tool: Tool[Any, ..., Any],
        loop: ToolLoop,
        make: Callable[[], Awaitable[Any]],
        end: Callable[[_Outcome], None],
    ) -> None:
        self._tool = tool
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
        """Raise `_Withdrawn` if the loop is blocked, and the call has not begun or may begin again."""
        loop = self._loop
        if not loop.check():
            return
        if self._take_token():
            raise _Withdrawn
        is_late = loop.blocked_s > RESTART_AFTER_S and loop.blocker != self._tool.name
        if is_late and not self._tool.spec.must_end:
            self.cancel()
            raise _Withdrawn

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
            outcome = _Outcome(await self._make())
        except BaseException as error:  # noqa: BLE001 nothing that a tool raises may pass
            outcome = _Outcome(error=error)
        self._end(outcome)


def _future() -> tuple[asyncio.Future[_Outcome], Callable[[_Outcome], None]]:
    """Return a future of the worker's loop, and a function that sets it from another thread."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[_Outcome] = loop.create_future()

    def settle(outcome: _Outcome) -> None:
        if not future.done():
            future.set_result(outcome)

    def end(outcome: _Outcome) -> None:
        with contextlib.suppress(RuntimeError):  # the worker has ended, and its loop is closed
            loop.call_soon_threadsafe(settle, outcome)

    return future, end


async def _value(
    tool: Tool[Any, ..., Any],
    ended: asyncio.Future[_Outcome],
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
            if _is_waited_for(tool):
                continue
            cancel()
            await asyncio.wait([ended], timeout=_time_to_end(tool))
            if not ended.done() or isinstance(ended.result().error, asyncio.CancelledError):
                raise
    outcome = ended.result()
    if outcome.error is None:
        return outcome.value
    raise as_failure(outcome.error)


def _is_waited_for(tool: Tool[Any, ..., Any]) -> bool:
    """Tell whether the run was cancelled during a call with an effect, which then ends by itself.

    To cancel it would leave unknown whether it happened. Its timeout bounds the wait.
    """
    if not tool.spec.must_end or not activity.in_activity():
        return False
    details = activity.cancellation_details()
    return (
        details is not None
        and details.cancel_requested
        and not (details.worker_shutdown or details.timed_out or details.not_found)
    )


def _time_to_end(tool: Tool[Any, ..., Any]) -> float:
    """Return how long a cancelled call may take to end."""
    if not activity.in_activity() or activity.cancellation_details() is None:
        return LATE_ENDS_WITHIN_S  # it exceeded its timeout
    if tool.is_async or activity.is_worker_shutdown():
        return ENDS_WITHIN_S
    return LATE_ENDS_WITHIN_S


def _nothing() -> None:
    """Do nothing: the call of a function that is not a tool has its code elsewhere."""


async def _encoded(tool: Tool[Any, ..., Any], result: Awaitable[Any]) -> bytes:
    return tool.encoded(await result)


def _stop(loops: list[ToolLoop]) -> None:
    for loop in loops:
        loop.stop()

"""Runs the code of tools apart from the worker: plain functions in threads, async ones on their own loop.

The worker's event loop goes on, whatever a tool does or raises. Each exception becomes a failure with its
cause in one line. That includes `SystemExit` and `KeyboardInterrupt`, which end an event loop, and
`StopIteration`, which a future cannot hold.
"""

import asyncio
import contextvars
import inspect
import itertools
import threading
import weakref
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Self

import structlog
from temporalio.exceptions import ApplicationError

from outlast.agents.dependencies import Dependency
from outlast.agents.run_functions import RunFunction
from outlast.agents.tool_context import RunContext, ToolContext
from outlast.agents.tool_parameters import is_async
from outlast.agents.tools import Tool
from outlast.errors import Failure, NotReady, ToolFailed
from outlast_activities.open_dependencies import OpenDependencies
from outlast_activities.tool_code import (
    Code,
    LoopCall,
    Outcome,
    Withdrawn,
    outcome_future,
    value_of,
)
from outlast_activities.tool_loop import CURRENT_TOOL, ToolLoop

MAX_TOOL_LOOPS = 8
"""Event loops of async tools. When tools block all of them, further calls fail on this worker."""

MAX_HUNG_CALLS = 100
"""Plain calls that run although nobody waits for them. With so many, further ones fail on this worker."""

OPEN_WITHIN_S = 30.0
"""How long a dependency may take to open. After it, the worker does not start."""

CLOSE_WITHIN_S = 2.0
"""How long dependencies may take to close, together, after the worker has drained."""

log = structlog.get_logger("outlast.tools")


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
            log.warning("tool.failed", tool=tool.name, error=error.message, error_type=error.type)
            raise

    async def _run(
        self, tool: Tool[Any, ..., Any], arguments: bytes, context: ToolContext[Any] | None
    ) -> bytes:
        CURRENT_TOOL.set(tool.name)
        code, dependency = Code.of(tool), self._dependencies.get(tool.name)
        if tool.is_async:
            return bytes(
                await self._on_loop(code, lambda: self._invoke_async(tool, arguments, context))
            )
        if context is not None and dependency is not None:
            context = context.with_deps(await self._shared(dependency))
        result = await self._in_thread(code, lambda: tool.invoke_plain(arguments, context))
        if isinstance(result, bytes):
            return result
        # A plain function that returns an awaitable, such as an async one in a plain decorator.
        return bytes(await self._on_loop(code, lambda: _encoded(tool, result)))

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
            if error.type == NotReady.__name__:  # its message says what to do
                raise NotReady(error.message) from None
            reason = f"{error.type}: {error.message}"
        raise NotReady(
            f"the dependency {dependency.name!r} ({dependency.place}) cannot be opened: {reason}"
        )

    async def _shared(self, dependency: Dependency[Any]) -> Any:
        """Return the value for a plain function. It is opened again if it has ended by itself."""
        if not self._open.is_shared(dependency):
            await self.call("open", lambda: self._open.value(dependency))
        return self._open.shared(dependency)

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
        CURRENT_TOOL.set(name)
        result = await self._in_thread(Code(name), function)
        return (
            await self._on_loop(Code(name), lambda: result)
            if inspect.isawaitable(result)
            else result
        )

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

            return await self._on_loop(Code(name), call_on_loop)
        if dependency is not None:
            context = context.with_deps(await self._shared(dependency))
        arguments = function.arguments(context, value)
        return await self.call(name, partial(function.function, *arguments))

    def blocked_text(self) -> str:
        """Return which tool blocks an event loop now, in words, or nothing."""
        return "; ".join(loop.blocked_by for loop in self._loops if loop.check())

    async def _in_thread(self, code: Code, call: Callable[[], Any]) -> Any:
        """Call plain code in a daemon thread. It cannot be stopped, but a process can end before it."""
        if len(self._hung) >= MAX_HUNG_CALLS:
            raise Failure(
                f"{len(self._hung)} calls hang on this worker, so it takes no more: "
                f"{', '.join(sorted(set(self._hung.values())))}; restart it",
                kind=ToolFailed.__name__,
                retryable=True,
            )
        number, context = next(self._numbers), contextvars.copy_context()
        ended, end = outcome_future()
        # On this loop, as below: its thread may end at the moment in which the call is abandoned.
        ended.add_done_callback(lambda _: self._hung.pop(number, None))

        def contained() -> None:
            try:
                outcome = Outcome(context.run(call))
            except BaseException as error:  # noqa: BLE001 nothing that a tool raises may pass
                outcome = Outcome(error=error)
            end(outcome)

        threading.Thread(target=contained, name=f"tool {code.name}", daemon=True).start()
        try:
            return await value_of(code, ended)
        finally:
            if not ended.done():
                self._hung[number] = code.name
                log.warning("tool.abandoned", tool=code.name, reason="its thread does not end")

    async def _on_loop(self, code: Code, make: Callable[[], Awaitable[Any]]) -> Any:
        """Run async code on the first loop that is not blocked."""
        while True:  # bounded: each pass takes another loop, and there is a limit of loops
            loop, number = self._free_loop(code.name), next(self._numbers)
            ended, end = outcome_future()
            call = LoopCall(code, loop, make, end)
            loop.calls[number] = code.name
            loop.run(call.begin, contextvars.copy_context())
            try:
                return await value_of(code, ended, check=call.check, cancel=call.cancel)
            except Withdrawn:
                self._blockers.add(loop.blocker)
                log.info("tool.moved", tool=code.name, reason=loop.blocked_by)
            finally:
                loop.calls.pop(number, None)

    def _free_loop(self, name: str) -> ToolLoop:
        """Return a loop that is not blocked; a tool that has blocked others gets loops of its own."""
        owner = name if name in self._blockers else ""
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


def is_of_worker(error: ApplicationError) -> bool:
    """Tell whether this worker could not run the code, which raised nothing. Another worker may run it."""
    return (
        isinstance(error, Failure) and error.type == ToolFailed.__name__ and not error.non_retryable
    )


async def _encoded(tool: Tool[Any, ..., Any], result: Awaitable[Any]) -> bytes:
    return tool.encoded(await result)


def _stop(loops: list[ToolLoop]) -> None:
    for loop in loops:
        loop.stop()

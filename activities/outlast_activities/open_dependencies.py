"""Open dependencies: opened before a worker polls, handed to the calls of tools, and closed when it drains.

A task holds each open dependency, so that the task that opened it also closes it: libraries with task
groups require this. An async dependency belongs to an event loop. Calls that move to a spare loop,
because a tool blocks the first one, open it there again.
"""

import asyncio
import concurrent.futures
from typing import Any

import structlog

from outlast.agents.dependencies import Dependency
from outlast.text.error_text import error_text, type_name

log = structlog.get_logger("outlast.tools")


class HeldDependency:
    """A dependency that a task of an event loop holds open."""

    def __init__(self, dependency: Dependency[Any]) -> None:
        self._dependency = dependency
        self._loop = asyncio.get_running_loop()
        self._opened: asyncio.Future[Any] = self._loop.create_future()
        self._closing = asyncio.Event()
        self.ended: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._task = self._loop.create_task(self._hold())

    async def value(self) -> Any:
        """Return the value when it is open; raises what its function raised. Only for its own loop."""
        return await asyncio.shield(self._opened)

    def close(self) -> None:
        """Begin to close it, from any thread. `ended` says when it is closed."""
        self._loop.call_soon_threadsafe(
            self._closing.set if self._opened.done() else self._task.cancel
        )

    def abandon(self) -> None:
        """Cancel its task, from any thread."""
        self._loop.call_soon_threadsafe(self._task.cancel)

    async def _hold(self) -> None:
        try:
            async with self._dependency.open() as value:
                self._opened.set_result(value)
                await self._closing.wait()
        except BaseException as error:  # noqa: BLE001 code of users may raise anything
            if not self._opened.done():
                self._opened.set_exception(_storable(error))
                self._opened.exception()  # or asyncio logs that nobody read it
            else:
                log.warning(
                    "dependency.close_failed" if self._closing.is_set() else "dependency.lost",
                    dependency=self._dependency.name,
                    error=f"{type_name(error)}: {error_text(error)}",
                )
        finally:
            self.ended.set_result(None)


class OpenDependencies:
    """The open dependencies of a worker, by name and event loop."""

    def __init__(self) -> None:
        self._held: dict[tuple[str, asyncio.AbstractEventLoop], HeldDependency] = {}
        self._shared: dict[str, tuple[HeldDependency, Any]] = {}
        self._is_closing = False

    async def value(self, dependency: Dependency[Any]) -> Any:
        """Return the value for the running loop, and open it if it is not open there.

        One that has ended by itself is opened again: its connection is lost, or it could not be opened.
        """
        if not dependency.is_async and self.is_shared(dependency):
            return self.shared(dependency)
        key = (dependency.name, asyncio.get_running_loop())
        held = self._held.get(key)
        if held is None or self._has_ended(held):
            held = self._held[key] = HeldDependency(dependency)
        value = await held.value()
        if not self.is_shared(dependency):
            self._shared[dependency.name] = (held, value)
        return value

    def is_shared(self, dependency: Dependency[Any]) -> bool:
        """Return whether a value is open on any loop, so that `shared` returns it."""
        known = self._shared.get(dependency.name)
        return known is not None and not self._has_ended(known[0])

    def shared(self, dependency: Dependency[Any]) -> Any:
        """Return the value that was opened first, for a plain function in a thread."""
        return self._shared[dependency.name][1]

    def _has_ended(self, held: HeldDependency) -> bool:
        """Return whether a dependency has ended by itself. What the worker closes stays closed."""
        return held.ended.done() and not self._is_closing

    async def close(self, *, within_s: float) -> None:
        """Close all of them, on their own loops. One that takes longer is abandoned."""
        self._is_closing = True
        held = dict(self._held)
        for each in held.values():
            each.close()
        waits = [asyncio.wrap_future(each.ended) for each in held.values()]
        if waits:
            await asyncio.wait(waits, timeout=within_s)
        for (name, _), each in held.items():
            if not each.ended.done():
                each.abandon()
                reason = f"not closed in {within_s:g} s"
                log.warning("dependency.abandoned", dependency=name, reason=reason)


def _storable(error: BaseException) -> BaseException:
    """Return an exception that a future can hold."""
    if isinstance(error, StopIteration | asyncio.CancelledError):
        return RuntimeError(f"{type_name(error)}: {error_text(error)}")
    return error

"""Event loops of async tools: each runs in a thread of its own, apart from the loop of the worker.

The worker's loop sends heartbeats, answers the health endpoint and runs the steps of all runs. A tool that
blocks its loop, ends it with `SystemExit`, or stops it, must not reach that one.

All async tools share one loop, so that their connections and locks work together. A loop that a tool blocks
is named in the log. Calls that have not begun there move to a spare loop.
"""

import asyncio
import sys
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import Context, ContextVar
from pathlib import Path
from types import FrameType
from typing import Any

import structlog

TICK_S = 0.2
"""How often a loop with calls shows that it runs."""

BLOCKED_AFTER_S = 1.0
"""A loop that shows nothing for so long is blocked: longer than a busy machine makes it wait."""

CURRENT_TOOL: ContextVar[str] = ContextVar("current_tool", default="")
"""The tool whose code runs; its subtasks inherit it."""

log = structlog.get_logger("outlast.tools")


class ToolLoop:
    """An event loop for async tools, in a daemon thread."""

    def __init__(self, *, threads: int) -> None:
        self.calls: dict[int, str] = {}
        """The tools of the calls on the loop, by number."""
        self.blocked_by = ""
        """Which tool blocks the loop, since when and where, as a person reads it; empty if none does."""
        self.blocker = ""
        self.blocked_s = 0.0
        self._ticked_at = time.monotonic()
        self._suspected_tick = 0.0
        self._is_ticking = False
        self._is_stopped = False
        self._tools: weakref.WeakKeyDictionary[asyncio.Task[Any], str] = weakref.WeakKeyDictionary()
        self._loop = asyncio.new_event_loop()
        self._loop.set_task_factory(self._new_task)
        self._loop.set_default_executor(ThreadPoolExecutor(threads, thread_name_prefix="tool"))
        self._thread = threading.Thread(target=self._serve, name="tool-loop", daemon=True)
        self._thread.start()

    def run(self, callback: Callable[[], object], context: Context) -> None:
        """Run a callback on the loop, in a context."""
        if not self._is_ticking:
            self._is_ticking = True
            self._ticked_at = time.monotonic()
            self._loop.call_soon_threadsafe(self._tick)
        self._loop.call_soon_threadsafe(callback, context=context)

    def check(self) -> bool:
        """Return whether the loop is blocked. The log names the tool once."""
        ticked_at = self._ticked_at
        blocked_s = time.monotonic() - ticked_at
        if blocked_s < BLOCKED_AFTER_S or not self._is_ticking:
            self._suspected_tick = 0.0
            self.blocked_by = self.blocker = ""
            return False
        if self._suspected_tick != ticked_at:
            # Twice, since the loop of the worker may have waited for the processor too.
            self._suspected_tick = ticked_at
            return bool(self.blocked_by)
        tool, place = self._blocker()
        is_new = not self.blocked_by
        self.blocker, self.blocked_s = tool, blocked_s
        self.blocked_by = (
            f"{tool} blocks the event loop of async tools for {blocked_s:.0f} s{place}"
        )
        if is_new:
            log.warning(
                "tool.blocks_event_loop",
                tool=tool,
                blocked_s=round(blocked_s, 1),
                place=place.removeprefix(" at "),
                remedy="make it a plain function, or await instead",
            )
        return True

    def stop(self) -> None:
        """End the loop. What still runs on it is abandoned."""
        self._is_stopped = True
        self._loop.call_soon_threadsafe(self._loop.stop)

    def _blocker(self) -> tuple[str, str]:
        """Return the tool whose code runs now, and its place."""
        task = asyncio.current_task(self._loop)
        tool = self._tools.get(task, "") if task is not None else ""
        frame = sys._current_frames().get(self._thread.ident or 0)
        return tool or " or ".join(sorted(set(self.calls.values()))) or "a tool", _place(frame)

    def _tick(self) -> None:
        self._ticked_at = time.monotonic()
        if self.calls:
            self._loop.call_later(TICK_S, self._tick)
        else:
            self._is_ticking = False

    def _new_task(
        self,
        loop: asyncio.AbstractEventLoop,
        coroutine: Any,
        **options: Any,
    ) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.Task(coroutine, loop=loop, **options)
        context = options.get("context")
        self._tools[task] = CURRENT_TOOL.get() if context is None else context.get(CURRENT_TOOL, "")
        return task

    def _serve(self) -> None:
        while not self._is_stopped:
            try:
                self._loop.run_forever()
            except BaseException as error:  # noqa: BLE001 a task that raises SystemExit ends `run_forever`
                log.warning("tool.left_event_loop", error=type(error).__name__)
        self._loop.close()


def _place(frame: FrameType | None) -> str:
    """Return the innermost place that is not in a library, or the innermost one."""
    innermost = frame
    while frame is not None:
        file = Path(frame.f_code.co_filename)
        if file.exists() and not _is_library(file):
            return f" at {file.name}:{frame.f_lineno}"
        frame = frame.f_back
    if innermost is None:
        return ""
    return f" at {Path(innermost.f_code.co_filename).name}:{innermost.f_lineno}"


_STANDARD_LIBRARY = Path(asyncio.__file__).parent.parent
_OWN_FILES = (Path(__file__),)


def _is_library(file: Path) -> bool:
    return (
        file in _OWN_FILES
        or file.is_relative_to(_STANDARD_LIBRARY)
        or "site-packages" in file.parts
    )

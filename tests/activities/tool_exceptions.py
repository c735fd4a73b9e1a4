"""Exceptions of tools, and what their calls must fail with."""

import asyncio
import concurrent.futures
from collections.abc import Callable

from temporalio.exceptions import ApplicationError
from temporalio.exceptions import CancelledError as TemporalCancelledError

from outlast import ToolError


class Unreadable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no message")


class Exiting(Exception):
    def __str__(self) -> str:
        raise SystemExit(3)


class NotFound(ToolError):
    pass


class NotFoundWithId(ToolError):
    def __init__(self, number: int) -> None:  # without that of its base
        self.number = number


class WorkerShutdown(Exception):
    pass


def _chained() -> BaseException:
    error: BaseException = ValueError("first")
    for number in range(500):
        following = ValueError(f"{number} {'x' * 3_000}")
        following.__cause__ = error
        error = following
    return error


def _circular() -> BaseException:
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    return first


ERRORS: list[tuple[str, Callable[[], BaseException], str, str]] = [
    ("exit", lambda: SystemExit(2), "SystemExit", "2"),
    ("exit_text", lambda: SystemExit("usage: x"), "SystemExit", "usage: x"),
    ("interrupt", KeyboardInterrupt, "KeyboardInterrupt", ""),
    ("generator", GeneratorExit, "GeneratorExit", ""),
    ("stop", lambda: StopIteration(7), "StopIteration", "7"),
    ("stop_async", StopAsyncIteration, "StopAsyncIteration", ""),
    ("cancelled", lambda: asyncio.CancelledError("mine"), "CancelledError", "mine"),
    ("temporal", lambda: TemporalCancelledError("mine"), "CancelledError", "mine"),
    ("base", lambda: BaseException("base"), "BaseException", "base"),
    ("unreadable", Unreadable, "Unreadable", "its message cannot be read"),
    ("exiting", Exiting, "Exiting", "its message cannot be read"),
    ("surrogate", lambda: OSError("no file caf\udce9.txt"), "OSError", "no file caf\ufffd.txt"),
    ("pair", lambda: OSError("\ud83d\ude00"), "OSError", "\U0001f600"),
    ("megabytes", lambda: ValueError("x" * 5_000_000), "ValueError", "xxx"),
    ("chain", _chained, "ValueError", "499 x"),
    ("circle", _circular, "ValueError", "first"),
    ("executor", lambda: concurrent.futures.BrokenExecutor("b"), "BrokenExecutor", "b"),
    ("memory", MemoryError, "MemoryError", ""),
    ("recursion", lambda: RecursionError("deep"), "RecursionError", "deep"),
    ("timeout", lambda: TimeoutError("own"), "TimeoutError", "own"),
    ("own_name", lambda: WorkerShutdown("x"), f"{__name__}.WorkerShutdown", "x"),
    (
        "group",
        lambda: ExceptionGroup("two", [KeyError("k"), ValueError("v")]),
        "ExceptionGroup",
        "two (2 sub-exceptions): KeyError: 'k'; ValueError: v",
    ),
    (
        "base_group",
        lambda: BaseExceptionGroup("one", [SystemExit(1)]),
        "BaseExceptionGroup",
        "SystemExit: 1",
    ),
    ("tool_error", lambda: ToolError("why"), "ToolError", "why"),
    ("tool_error_surrogate", lambda: ToolError("caf\udce9"), "ToolError", "caf\ufffd"),
    ("subclass", lambda: NotFound("no such order"), "ToolError", "no such order"),
    ("bare_subclass", lambda: NotFoundWithId(7), "ToolError", "7"),
    ("not_text", lambda: ToolError(5), "ToolError", "5"),  # type: ignore[arg-type]
    (
        "group_of_tool_errors",
        lambda: ExceptionGroup("two", [NotFound("a"), ToolError("b")]),
        "ToolError",
        "a; b",
    ),
    ("application", lambda: ApplicationError("m", type="T"), "T", "m"),
    ("details", lambda: ApplicationError("m", object(), type="T"), "T", "m"),
]

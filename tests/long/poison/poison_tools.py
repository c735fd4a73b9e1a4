"""Tools that try to end or stall their worker."""

import asyncio
import concurrent.futures
import math
import os
import sys
import time
from datetime import timedelta
from typing import Any

from outlast import Agent, ToolError, tool

SHORT = timedelta(seconds=3)


@tool(effect="write")
def exits() -> str:
    """Exit, as argparse does."""
    sys.exit(2)


@tool(effect="write")
async def exits_async() -> str:
    """Exit on a loop."""
    sys.exit(2)


@tool(effect="write")
async def exits_in_task() -> str:
    """Exit in a task."""

    async def leave() -> None:
        sys.exit(3)

    await asyncio.create_task(leave())
    return ""


@tool(effect="write")
def interrupts() -> str:
    """Interrupt."""
    raise KeyboardInterrupt


@tool(effect="write")
def stops() -> Any:
    """Take the first of nothing."""
    return next(iter([]))


@tool(effect="write")
async def cancels() -> str:
    """Cancel itself."""
    raise asyncio.CancelledError


@tool(effect="write")
def breaks_executor() -> str:
    """Raise what ends an SDK's worker."""
    raise concurrent.futures.BrokenExecutor("broken")


@tool(effect="write")
def surrogate_error() -> str:
    """Fail with half a pair."""
    raise ToolError("no file " + os.fsdecode(b"caf\xe9.txt"))


@tool(effect="write")
def surrogate_result() -> list[str]:
    """Return half a pair."""
    return [os.fsdecode(b"caf\xe9.txt")]


@tool(effect="write")
def chain() -> str:
    """Fail with a long chain."""
    error: Exception = ValueError("first")
    for number in range(400):
        following = ValueError(f"{number} {'x' * 3_000}")
        following.__cause__ = error
        error = following
    raise error


@tool(effect="write")
def megabytes() -> str:
    """Fail with megabytes."""
    raise ValueError("\udce9" * 3_000_000)


@tool(effect="read")
def deep() -> Any:
    """Return 500 levels."""
    value: Any = 1
    for _ in range(500):
        value = [value]
    return value


@tool(effect="read")
def not_a_number() -> float:
    """Return no number."""
    return math.nan


@tool(effect="read", timeout=timedelta(seconds=30))
async def blocks() -> str:
    """Block for longer than a heartbeat timeout."""
    time.sleep(13)  # noqa: ASYNC251
    return "page"


@tool(effect="read", timeout=SHORT)
async def blocks_for_good() -> str:
    """Block for longer than its timeout."""
    time.sleep(60)  # noqa: ASYNC251
    return ""


@tool(effect="read", timeout=SHORT)
def hangs() -> str:
    """Hang in a thread."""
    time.sleep(60)
    return ""


@tool(effect="read")
async def innocent() -> str:
    """Do an honest job."""
    await asyncio.sleep(0.1)
    return "fine"


@tool(effect="write")
def leaves_generator() -> str:
    """Raise what ends a generator."""
    raise GeneratorExit


@tool(effect="write")
def recurses() -> str:
    """Recurse without an end."""
    return recurses.name + _recursed()


def _recursed() -> str:
    return _recursed()


@tool(effect="write")
def takes_memory() -> str:
    """Ask for more memory than there is."""
    return "x" * (1 << 60)


class Silent(Exception):
    """An exception that cannot be shown."""

    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


@tool(effect="write")
def cannot_be_shown() -> str:
    """Fail with an exception that raises when it is shown."""
    raise Silent


@tool(effect="write")
def group() -> str:
    """Fail with a group of groups."""
    error: Exception = ValueError("inmost")
    for number in range(300):
        error = ExceptionGroup(f"group {number}", [error])
    raise error


@tool(effect="write")
def base_group() -> str:
    """Fail with a group of what no handler expects."""
    raise BaseExceptionGroup("all", [SystemExit(4), KeyboardInterrupt()])


@tool(effect="read")
def circle() -> Any:
    """Return a value that holds itself."""
    value: list[Any] = []
    value.append(value)
    return value


@tool(effect="read")
def large() -> str:
    """Return 50 MB."""
    return "x" * 50_000_000


@tool(effect="read")
def endless() -> Any:
    """Return a generator that never ends."""
    return (number for number in iter(int, 1))


@tool(effect="read")
def odd_names() -> Any:
    """Return names that JSON does not have."""
    return {os.fsdecode(b"caf\xe9"): 1, 7: 2}


@tool(effect="write")
def shouts() -> str:
    """Write 5 MB to the log, and fail."""
    print("shout " * 800_000, file=sys.stderr)
    raise ValueError("hoarse")


@tool(effect="write")
async def closes_its_loop() -> str:
    """Stop and close the event loop that it runs on."""
    loop = asyncio.get_running_loop()
    loop.stop()
    loop.close()
    return ""


@tool(effect="write")
async def cancels_all() -> str:
    """Cancel every task that it can find."""
    for task in asyncio.all_tasks():
        task.cancel()
    await asyncio.sleep(1)
    return ""


TOOLS: list[Any] = [exits, exits_async, exits_in_task, interrupts, stops, cancels, breaks_executor]
TOOLS += [surrogate_error, surrogate_result, chain, megabytes, deep, not_a_number, leaves_generator]
TOOLS += [recurses, takes_memory, cannot_be_shown, group, base_group, circle, large, endless]
TOOLS += [odd_names, shouts, closes_its_loop, cancels_all]
TOOLS += [blocks, blocks_for_good, hangs, innocent]

poisoned = Agent(name="poisoned", instructions="Call.", tools=TOOLS)

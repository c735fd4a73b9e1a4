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


TOOLS: list[Any] = [exits, exits_async, exits_in_task, interrupts, stops, cancels, breaks_executor]
TOOLS += [surrogate_error, surrogate_result, chain, megabytes, deep, not_a_number, leaves_generator]
TOOLS += [blocks, blocks_for_good, hangs, innocent]

poisoned = Agent(name="poisoned", instructions="Call.", tools=TOOLS)

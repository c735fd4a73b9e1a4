"""Agents with short tools that end their own process, or that a test kills meanwhile."""

import asyncio
import os
import signal
from datetime import timedelta
from pathlib import Path

from temporalio import activity

from outlast import Agent, tool

SHORT = timedelta(seconds=8)


def note(log: str, line: str) -> int:
    """Append a line to a file; return how many it has."""
    with Path(log).open("a") as file:
        file.write(f"{line}\n")
        file.flush()
        os.fsync(file.fileno())
    return len(Path(log).read_text().splitlines())


def place() -> str:
    return "local" if activity.info().is_local else "ordinary"


@tool(effect="read", timeout=SHORT)
def fatal(log: str, deaths: int) -> str:
    """End the process as often as asked, as a crash in a C library does."""
    if note(log, place()) <= deaths:
        os.kill(os.getpid(), signal.SIGKILL)
    return "survived"


@tool(effect="idempotent", timeout=SHORT)
async def held(log: str) -> str:
    """Wait the first time, until somebody kills the process."""
    if note(log, place()) == 1:
        await asyncio.sleep(2.5)
    return "done once"


short = Agent(name="short", instructions="Call.", tools=[fatal, held])

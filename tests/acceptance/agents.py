"""Agents that the acceptance tests serve in worker processes of their own."""

import asyncio
import time
from datetime import timedelta
from pathlib import Path

from outlast import Agent, Limits, ToolContext, tool


@tool(effect="read", timeout=timedelta(minutes=2))
async def slow(log: str, seconds: float) -> str:
    """Note the time in a file, wait, and note it again."""
    with Path(log).open("a") as file:  # noqa: ASYNC230 a line
        file.write(f"began {time.time()}\n")
    await asyncio.sleep(seconds)
    return "waited"


@tool(effect="read", timeout=timedelta(minutes=2))
def stuck(log: str) -> str:
    """Wait in a way that nothing can interrupt."""
    Path(log).write_text("began")
    time.sleep(60)
    return ""


@tool(effect="read", timeout=timedelta(minutes=2))
async def count(context: ToolContext, log: str, upto: int) -> str:
    """Count to a number, one every 0.2 s, from where the attempt before came to."""
    done = context.last_checkpoint
    for number in range(done if isinstance(done, int) else 0, upto):
        with Path(log).open("a") as file:  # noqa: ASYNC230 a line
            file.write(f"{number}\n")
        context.save_checkpoint(number + 1)
        await asyncio.sleep(0.2)
    return "counted"


@tool(effect="read")
async def page(number: int) -> str:
    """Read a page of 5,000 characters."""
    return f"{number:05}" * 1_000


stubborn = Agent(name="stubborn", instructions="Wait.", tools=[stuck])
counter = Agent(name="counter", instructions="Count.", tools=[count])
patient = Agent(name="patient", instructions="Wait.", tools=[slow])
reader = Agent(name="reader", instructions="Read.", tools=[page], limits=Limits(max_turns=500))

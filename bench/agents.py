"""The agents of the benchmarks: one tool each, whose results have a known size."""

import time
from datetime import timedelta

from bench.workload import INSTRUCTIONS, text_of
from outlast import Agent, tool

SHORT = timedelta(seconds=5)
"""The timeout of the tools: the worker's setting decides whether they are local."""


@tool(effect="read", timeout=SHORT)
async def read_500(page: int) -> str:  # noqa: ARG001 every page is alike
    """Read one page of the archive.

    Args:
        page: the number of the page
    """
    return text_of(500)


@tool(effect="read", timeout=SHORT)
async def read_5000(page: int) -> str:  # noqa: ARG001 every page is alike
    """Read one page of the archive.

    Args:
        page: the number of the page
    """
    return text_of(5_000)


@tool(effect="irreversible", approval="people")
async def note_start() -> int:
    """Return when it was started, in nanoseconds."""
    return time.time_ns()


bench_500 = Agent(name="bench-500", instructions=INSTRUCTIONS, tools=[read_500])
bench_5000 = Agent(name="bench-5000", instructions=INSTRUCTIONS, tools=[read_5000])
bench_waiting = Agent(name="bench-waiting", instructions=INSTRUCTIONS, tools=[note_start])

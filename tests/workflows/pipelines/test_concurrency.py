"""`for` with a concurrency: how many items run at the same time, as the tool itself counts."""

import asyncio
import threading
from typing import Any

from temporalio.client import Client

from outlast import ToolError, tool
from outlast.testing import ScriptedModel
from tests.stage import on_stage
from tests.workflows.pipelines.staging import document, output_of, result_of, start

CONCURRENCY = 3


class Gauge:
    """Counts the calls under way, and remembers the most."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.reset()

    def reset(self) -> None:
        self._now = self.most = 0

    def add(self, number: int) -> None:
        with self._lock:
            self._now += number
            self.most = max(self.most, self._now)


GAUGE = Gauge()


@tool(effect="read")
async def weigh(number: int) -> int:
    """Weigh an item, which takes a moment."""
    GAUGE.add(1)
    try:
        for _ in range(200):  # so that the others of the first round can begin
            if GAUGE.most >= CONCURRENCY:
                break
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.01)
        if number % 5 == 4:
            raise ToolError("too heavy")
        return number
    finally:
        GAUGE.add(-1)


def loop(*tasks: dict[str, Any]) -> dict[str, Any]:
    return document(
        {
            "each": {
                "for": {"each": "n", "in": "${ . }"},
                "metadata": {"outlast": {"concurrency": CONCURRENCY, "on_error": "collect"}},
                "do": list(tasks),
            }
        }
    )


WEIGH = {"call": "tool", "with": {"tool": "weigh", "arguments": {"number": "${ $n }"}}}
AGAIN = {
    "try": [{"weigh": WEIGH}],
    "catch": {"retry": {"limit": {"attempt": {"count": 1}}}},
}


async def test_no_more_items_run_than_the_document_says(temporal: Client) -> None:
    async with on_stage(temporal, ScriptedModel([]), tools=[weigh], cached=0) as stage:
        GAUGE.reset()
        got = await output_of(stage, loop({"weigh": WEIGH}, {"again": AGAIN}), list(range(15)))
        assert (got["completed"], got["failed"]) == (12, 3)
        assert GAUGE.most == CONCURRENCY


async def test_a_continue_as_new_starts_no_more_items(impatient: Client) -> None:
    async with on_stage(
        impatient, ScriptedModel([]), tools=[weigh], has_search_attributes=False
    ) as stage:
        GAUGE.reset()
        run = await start(stage, loop({"weigh": WEIGH}, {"again": AGAIN}), list(range(30)))
        got = (await result_of(stage, run))["output"]
        assert (got["completed"], got["failed"]) == (24, 6)
        assert len(await stage.chain(run)) > 1
        assert GAUGE.most == CONCURRENCY

import asyncio
from contextlib import aclosing
from datetime import timedelta
from typing import Any, cast

from outlast.client.run_connection import RunConnection
from outlast.client.streams import stream_entries
from outlast.client.waiting import Waiting
from outlast.contracts.messages import Message

WITHIN_S = 30


class FakeRun:
    """A run without an end. It counts the queries for its transcript, which has one entry."""

    def __init__(self) -> None:
        self.queries = 0

    async def waiting(self, *, with_steps: bool = False) -> list[Waiting]:
        return []

    async def new_entries(self, since: int) -> list[Message]:
        self.queries += 1
        return [Message(role="user", content="hi")][since:]

    async def result(self) -> None:
        await asyncio.Event().wait()


async def test_stream_does_not_query_a_run_during_a_pause() -> None:
    run, wake, paused = FakeRun(), asyncio.Event(), asyncio.Event()

    def pause_s() -> float:
        paused.set()
        return 0.001

    entries = stream_entries(
        cast("RunConnection", cast("Any", run)), timedelta(milliseconds=1), wake, pause_s
    )
    async with asyncio.timeout(WITHIN_S), aclosing(entries):
        assert (await anext(entries)).content == "hi"
        reading = asyncio.ensure_future(anext(entries))
        for _ in range(20):
            paused.clear()
            await paused.wait()
        assert run.queries == 1

        wake.set()
        while run.queries == 1:
            await asyncio.sleep(0)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)

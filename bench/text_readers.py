"""Readers of the events of runs, in a process of their own: what clients of a gateway do."""

import asyncio
import gc
import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from threading import Barrier

from outlast_workers.local.ports import HOST

from bench.text_writers import WITHIN_S, WORD, Arrivals


class Subscriber(asyncio.Protocol):
    """A client of one run's events: it notes when it has how many characters."""

    def __init__(self, run_id: str, place: str = "0") -> None:
        self.run_id = run_id
        self.place = place
        self.characters = 0
        self.arrivals: Arrivals = []
        self._rest = b""
        self._changed = asyncio.Event()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the request."""
        assert isinstance(transport, asyncio.Transport)
        self._transport, self._rest = transport, b""
        head = f"GET /runs/{self.run_id}/events HTTP/1.1\r\nhost: {HOST}\r\n"
        transport.write(f"{head}last-event-id: {self.place}\r\n\r\n".encode())

    def data_received(self, data: bytes) -> None:
        """Read the complete lines."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            if line.startswith(b"data: "):
                self._read(json.loads(line[6:]))
            elif line.startswith(b"id: "):
                self.place = line[4:].decode()
            else:
                assert not line.startswith(b"HTTP/1.1") or b" 200 " in line, line

    def _read(self, event: dict[str, str]) -> None:
        if event["type"] == "text":
            self.characters += len(event["text"])
            self.arrivals.append((self.characters, time.perf_counter()))
            self._changed.set()

    async def has(self, characters: int) -> None:
        """Wait until so many characters have come."""
        async with asyncio.timeout(WITHIN_S):
            while self.characters < characters:
                self._changed.clear()
                await self._changed.wait()

    async def connect(self, port: int) -> None:
        """Open a connection, and continue at the place of the last one."""
        await asyncio.get_running_loop().create_connection(lambda: self, HOST, port)

    def close(self) -> None:
        """Close the connection."""
        if self._transport is not None:
            self._transport.abort()


@asynccontextmanager
async def subscribed(
    port: int, run_ids: Sequence[str], count: int
) -> AsyncIterator[list[Subscriber]]:
    """Connect subscribers, which all have the beginning of an answer."""
    readers = [Subscriber(run_ids[number % len(run_ids)]) for number in range(count)]
    try:
        for reader in readers:
            await reader.connect(port)
        for reader in readers:
            await reader.has(len(WORD))
        yield readers
    finally:
        for reader in readers:
            reader.close()


def read_answers(
    port: int, run_ids: Sequence[str], tokens: int, barrier: Barrier
) -> list[Arrivals]:
    """Read the answer of each run, which its writer continues once all readers are connected."""
    gc.disable()  # the times that it keeps are no part of a client
    return asyncio.run(_read(port, run_ids, tokens, barrier))


async def _read(port: int, run_ids: Sequence[str], tokens: int, barrier: Barrier) -> list[Arrivals]:
    async with subscribed(port, run_ids, len(run_ids)) as readers:
        for reader in readers:
            reader.arrivals.clear()
        await asyncio.to_thread(barrier.wait, WITHIN_S)
        for reader in readers:
            await reader.has((tokens + 1) * len(WORD))
        await asyncio.to_thread(barrier.wait, WITHIN_S)
    return [reader.arrivals for reader in readers]

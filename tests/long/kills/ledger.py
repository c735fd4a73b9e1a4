"""The receiving end of effects: a server in a process that no kill reaches, which counts what arrives."""

import asyncio
import json
from collections import Counter
from typing import Literal, Self

from outlast_workers.local.ports import HOST

from outlast import ToolContext

Place = Literal["before", "during", "after"]
PLACES: tuple[Place, ...] = ("before", "during", "after")
"""Where a caller may be held: its effect has not arrived, has arrived unanswered, was answered."""


class Ledger:
    """Takes effects by name. `arrivals` are all that came, in order, each with its idempotency key."""

    def __init__(self) -> None:
        self.arrivals: list[tuple[str, str]] = []
        self.held: set[str] = set()
        self._holds: dict[str, Place] = {}
        self._released: dict[str, asyncio.Event] = {}
        self._server: asyncio.Server | None = None

    @property
    def port(self) -> int:
        """Where it listens."""
        assert self._server is not None
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    def hold(self, name: str, place: Place) -> None:
        """Keep the first caller with this effect at a place: until it is dead, or released."""
        self._holds[name] = place
        self._released[name] = asyncio.Event()

    def release(self, name: str) -> None:
        """Let a caller go on that is held."""
        self._released[name].set()

    def count(self, name: str) -> int:
        """Return how often an effect arrived, whatever its key."""
        return Counter(name for name, _ in self.arrivals)[name]

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, HOST, 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        moment, name, key = json.loads(await reader.readline())
        if moment == "during":
            self.arrivals.append((name, key))
        if self._holds.get(name) == moment:
            del self._holds[name]
            self.held.add(name)
            await self._until_dead_or_released(name, reader)
        writer.write(json.dumps(self.count(name)).encode() + b"\n")
        writer.close()

    async def _until_dead_or_released(self, name: str, reader: asyncio.StreamReader) -> None:
        either = {
            asyncio.ensure_future(reader.read()),
            asyncio.ensure_future(self._released[name].wait()),
        }
        _, pending = await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()


async def ask(context: ToolContext, port: int, what: Place | Literal["find"], name: str) -> int:
    """Tell the ledger at a port where this call is, or ask it; return how often the effect arrived."""
    reader, writer = await asyncio.open_connection(HOST, port)
    writer.write(json.dumps([what, name, context.idempotency_key]).encode() + b"\n")
    found: int = json.loads(await reader.readline())
    writer.close()
    return found


async def make(context: ToolContext, port: int, name: str) -> None:
    """Make an effect, passing through each place where a caller may be held."""
    for place in PLACES:
        await ask(context, port, place, name)

"""What traces cost: the same worker with and without a collector, in alternating rounds."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from statistics import median

from bench.measure import Timed, bench
from bench.subjects import Load, Outlast
from bench.tables import Table

HEAD_END = b"\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n"
MAX_HEAD_BYTES = 65_536


class Untraced(Outlast):
    """A worker without a collector."""

    name = "untraced"
    queue = "agents-untraced"
    is_local = "true"


class Traced(Outlast):
    """The same worker with a collector."""

    name = "traced"
    queue = "agents-traced"
    is_local = "true"

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint

    def worker(self, model_url: str) -> list[str]:
        """Return the command of the worker process."""
        return [f"OUTLAST_OTLP_ENDPOINT={self._endpoint}", *super().worker(model_url)]


@asynccontextmanager
async def collector() -> AsyncIterator[str]:
    """Serve a collector that takes everything and keeps nothing, so that it costs little."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := (await reader.readuntil(HEAD_END)).decode().lower():
                size = head.partition("content-length:")[2].partition("\r\n")[0]
                await reader.readexactly(int(size or 0))
                writer.write(OK)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=MAX_HEAD_BYTES)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


async def tracing(*, turns: int, rounds: int) -> list[Table]:
    """Measure a turn in series with and without traces. A turn has one prompt and one local call."""
    async with collector() as endpoint, bench() as stand:
        subjects: list[Outlast] = [Untraced(), Traced(endpoint)]
        found: dict[str, list[Timed]] = {subject.name: [] for subject in subjects}
        async with stand.workers(subjects):
            for number in range(rounds):
                # In turn first, so that a disturbance of the machine meets both.
                for subject in subjects[:: -1 if number % 2 else 1]:
                    found[subject.name].append(await stand.timed(subject, Load(turns)))
    wall, cpu = (
        {
            name: median(getattr(each, what) for each in times) * 1_000 / turns
            for name, times in found.items()
        }
        for what in ("wall_s", "worker_cpu_s")
    )
    ratios = [
        median(
            getattr(traced, what) / getattr(untraced, what)
            for untraced, traced in zip(found["untraced"], found["traced"], strict=True)
        )
        for what in ("wall_s", "worker_cpu_s")
    ]
    extra_ms = cpu["traced"] - cpu["untraced"]
    title = (
        f"Tracing (one run of {turns} turns at a time, no model latency; {rounds} pairs of rounds)"
    )
    rows = [[name, wall[name], cpu[name]] for name in found]
    return [
        Table(
            title,
            ["subject", "ms a turn", "worker CPU ms a turn"],
            [*rows, ["traced / untraced, median of pairs", *ratios]],
        ),
        Table(
            "Share of a turn whose model takes a second",
            ["extra worker CPU ms a turn", "share of 1,000 ms"],
            [[extra_ms, extra_ms / 1_000]],
        ),
    ]

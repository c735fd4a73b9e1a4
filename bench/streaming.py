"""The text of answers: from a worker's push to a subscriber.

Gateway, writers and subscribers are processes of their own, so none of them waits for another one's work.
"""

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from statistics import median

from outlast_workers.answer_publisher import AnswerPublisher, answer_publisher
from outlast_workers.local.ports import HOST, free_port
from outlast_workers.settings import Settings
from outlast_workers.settings_sections.gateway import EventsSettings

from bench.measure import Bench, bench
from bench.processes import Measured, worker_process
from bench.subjects import OUTLAST
from bench.tables import Table
from bench.text_readers import Subscriber, read_answers, subscribed
from bench.text_writers import WITHIN_S, WORD, Arrivals, write_answers
from outlast import Client

PREFIX = "default/bench-500/"

STARTED_AT_ONCE = 20
"""Runs that are started together."""


def delays_ms(written: Arrivals, arrivals: Arrivals) -> list[float]:
    """Return the time of each token from the worker to a subscriber."""
    arriving, delays = iter(arrivals), list[float]()
    has, at = 0, 0.0
    for characters, since in written:
        while has < characters:
            found = next(arriving, None)
            if found is None:
                return delays
            has, at = found
        delays.append((at - since) * 1_000)
    return delays


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which a share of all values is."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


@dataclass(frozen=True)
class Delays:
    """The delays of tokens, how long they were written, and what the gateway needed for them."""

    each_ms: list[float]
    events: int
    wall_s: float
    cpu_s: float


@dataclass
class Stand:
    """A gateway process, a publisher as a worker has it, and open runs to write answers for."""

    port: int
    gateway: Measured
    publisher: AnswerPublisher
    run_ids: list[str]

    def begin(self, run_id: str, attempt: int, words: int = 1) -> None:
        """Begin an answer of a run, which has no entries yet."""
        self.publisher.open(run_id, entry=0, turn=1, attempt=attempt).add(WORD * words)


@asynccontextmanager
async def streaming_stand(stand: Bench, runs: int) -> AsyncIterator[Stand]:
    """Start a gateway and open runs that wait for a message."""
    port = free_port()
    address = stand.client.service_client.config.target_host
    command = [
        f"OUTLAST_GATEWAY__PORT={port}",
        "OUTLAST_GATEWAY__REQUESTS_PER_MINUTE=1000000",
        *(sys.executable, "-m", "outlast_workers", "gateway", "--agents", "bench.agents"),
    ]
    run_ids = await _open_runs(Client(stand.client), runs)
    events = EventsSettings(urls=(f"http://{HOST}:{port}",))
    async with (
        worker_process("gateway", command, temporal_address=address) as gateway,
        answer_publisher(Settings(events=events)) as publisher,
    ):
        assert publisher is not None
        await _listens(port)
        yield Stand(port, gateway, publisher, run_ids)


async def _open_runs(client: Client, count: int) -> list[str]:
    gate = asyncio.Semaphore(STARTED_AT_ONCE)

    async def opened(number: int) -> str:
        async with gate:
            run_id = f"{PREFIX}{number}-{time.time_ns()}"
            return (await client.start("bench-500", mode="conversation", id=run_id)).id

    return list(await asyncio.gather(*map(opened, range(count))))


async def _listens(port: int) -> None:
    async with asyncio.timeout(WITHIN_S):
        while True:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection(HOST, port)
                writer.close()
                return
            await asyncio.sleep(0.05)


async def _delays(stand: Stand, tokens: int, gap_s: float) -> Delays:
    """Write and read an answer of each run, with a process for all writers and one for all readers."""
    spawn, loop = get_context("spawn"), asyncio.get_running_loop()
    url = f"http://{HOST}:{stand.port}"
    with spawn.Manager() as manager, ProcessPoolExecutor(2, mp_context=spawn) as processes:
        barrier = manager.Barrier(3)
        writing = loop.run_in_executor(
            processes, write_answers, url, stand.run_ids, tokens, gap_s, barrier
        )
        reading = loop.run_in_executor(
            processes, read_answers, stand.port, stand.run_ids, tokens, barrier
        )
        await asyncio.to_thread(barrier.wait, WITHIN_S)
        cpu_s, began = stand.gateway.cpu_s(), time.perf_counter()
        await asyncio.to_thread(barrier.wait, WITHIN_S)
        cpu_s, wall_s = stand.gateway.cpu_s() - cpu_s, time.perf_counter() - began
        written, arrivals = await writing, await reading
    pairs = zip(written, arrivals, strict=True)
    each_ms = [each for pair in pairs for each in delays_ms(*pair)]
    return Delays(each_ms, sum(map(len, arrivals)), wall_s, cpu_s)


async def _reconnects(stand: Stand, count: int) -> list[float]:
    """Return the times from a connection in mid-answer to its first text."""
    found = []
    for number in range(count):
        run_id = stand.run_ids[number % len(stand.run_ids)]
        reader, times = Subscriber(run_id), list[float]()
        for connection in range(2):
            stand.begin(run_id, 2 + number, words=1 + connection)
            before, began = reader.characters, time.perf_counter()
            await reader.connect(stand.port)
            await reader.has(before + len(WORD))
            reader.close()
            times.append((time.perf_counter() - began) * 1_000)
        found.append(times[-1])
    return found


async def streaming(*, runs: int, tokens: int, subscribers: int, reconnects: int) -> list[Table]:
    """Measure delays at 50 tokens a second for each run, memory by subscribers, and reconnects."""
    gap_s = 1 / 50
    async with (
        bench() as base,
        base.worker(OUTLAST),
        streaming_stand(base, runs) as stand,
    ):
        before_mib = stand.gateway.rss_mib()
        delays = await _delays(stand, tokens, gap_s)
        again = await _reconnects(stand, reconnects)
        for run_id in stand.run_ids:
            stand.begin(run_id, 1_000, words=100)
        async with subscribed(stand.port, stand.run_ids, subscribers):
            with_mib = stand.gateway.rss_mib()
    each, count = delays.each_ms, len(delays.each_ms)
    return [
        Table(
            f"Text of answers: {runs} runs, 50 tokens a second each, one subscriber a run",
            ["", "tokens", "median ms", "p95 ms", "p99 ms"],
            [
                [
                    "worker to subscriber",
                    count,
                    median(each),
                    percentile(each, 0.95),
                    percentile(each, 0.99),
                ]
            ],
        ),
        Table(
            f"CPU of the gateway at {count / delays.wall_s:,.0f} tokens a second",
            ["", "CPUs", "ms per 1,000 tokens", "events", "us per event"],
            [
                [
                    "gateway",
                    delays.cpu_s / delays.wall_s,
                    delays.cpu_s * 1e6 / count,
                    delays.events,
                    delays.cpu_s * 1e6 / delays.events,
                ]
            ],
        ),
        Table(
            f"First text after a reconnect in mid-answer ({reconnects} times)",
            ["", "median ms", "p95 ms"],
            [["reconnect", median(again), percentile(again, 0.95)]],
        ),
        Table(
            f"Memory of the gateway with {subscribers:,} subscribers of {runs} runs",
            ["", "MiB before", "MiB with them"],
            [["resident", before_mib, with_mib]],
        ),
    ]

"""The text of answers: from a worker's push to a subscriber, through a gateway of its own process."""

import asyncio
import contextlib
import json
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from statistics import median

from outlast_workers.answer_publisher import AnswerPublisher, PublishedAnswer, answer_publisher
from outlast_workers.local.ports import HOST, free_port
from outlast_workers.settings import Settings
from outlast_workers.settings_sections.gateway import EventsSettings

from bench.measure import Bench, bench
from bench.processes import Measured, worker_process
from bench.subjects import OUTLAST
from bench.tables import Table
from outlast import Client

WORD = "word "
"""What each token adds."""

PREFIX = "default/bench-500/"

WITHIN_S = 120.0
"""How long a connection, or a run's beginning, may take on a busy machine."""

PERCENTILE = 0.95


@dataclass
class Subscriber:
    """A client of one run's events: it notes when it has how many characters."""

    port: int
    run_id: str
    place: str = "0"
    characters: int = 0
    arrivals: list[tuple[int, float]] = field(default_factory=list)

    async def read(self, opened: asyncio.Event) -> None:
        """Read until the task is cancelled. `opened` is set when the answer has arrived."""
        reader, writer = await asyncio.open_connection(HOST, self.port, limit=1_000_000)
        head = f"GET /runs/{self.run_id}/events HTTP/1.1\r\nhost: {HOST}\r\n"
        writer.write(f"{head}last-event-id: {self.place}\r\n\r\n".encode())
        try:
            while line := await reader.readline():
                self._read(line)
                if line.startswith(b"HTTP/1.1"):
                    assert line.split()[1] == b"200", line
                if self.characters:
                    opened.set()
        finally:
            writer.close()

    def _read(self, line: bytes) -> None:
        name, _, value = line.rstrip().partition(b": ")
        if name == b"id":
            self.place = value.decode()
        elif name == b"data":
            event = json.loads(value)
            if event["type"] == "text":
                self.characters += len(event["text"])
                self.arrivals.append((self.characters, time.perf_counter()))


@dataclass
class Writer:
    """A model that writes one answer at a steady rate, and when it wrote how many characters."""

    answer: PublishedAnswer
    characters: int = 0
    written: list[tuple[int, float]] = field(default_factory=list)

    async def write(self, tokens: int, gap_s: float) -> None:
        """Add tokens, each at its own time: a late one does not delay the next."""
        begin = time.perf_counter()
        for number in range(tokens):
            await asyncio.sleep(max(0.0, begin + number * gap_s - time.perf_counter()))
            self.characters += len(WORD)
            self.written.append((self.characters, time.perf_counter()))
            self.answer.add(WORD)


def delays_ms(writer: Writer, subscriber: Subscriber) -> list[float]:
    """Return the time of each token from the worker to a subscriber."""
    arrivals, delays = iter(subscriber.arrivals), list[float]()
    characters, at = 0, 0.0
    for written, since in writer.written:
        while characters < written:
            found = next(arrivals, None)
            if found is None:
                return delays
            characters, at = found
        delays.append((at - since) * 1_000)
    return delays


def percentile(values: Sequence[float], share: float = PERCENTILE) -> float:
    """Return the value below which a share of all values is."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


@dataclass
class Stand:
    """A gateway process, a publisher as a worker has it, and open runs to write answers for."""

    port: int
    gateway: Measured
    publisher: AnswerPublisher
    run_ids: list[str]

    def writer(self, run_id: str, attempt: int) -> Writer:
        """Begin an answer of a run, which has no entries yet."""
        return Writer(self.publisher.open(run_id, entry=0, turn=1, attempt=attempt))

    @asynccontextmanager
    async def subscribed(self, count: int) -> AsyncIterator[list[Subscriber]]:
        """Connect subscribers, which all have the beginning of an answer."""
        subscribers = [
            Subscriber(self.port, self.run_ids[number % len(self.run_ids)])
            for number in range(count)
        ]
        opened = [asyncio.Event() for _ in subscribers]
        reading = [
            asyncio.create_task(each.read(event))
            for each, event in zip(subscribers, opened, strict=True)
        ]
        try:
            await asyncio.wait_for(asyncio.gather(*(event.wait() for event in opened)), WITHIN_S)
            yield subscribers
        finally:
            for task in reading:
                task.cancel()
            await asyncio.gather(*reading, return_exceptions=True)


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
    client, opened = Client(stand.client), []
    for number in range(runs):
        run = await client.start(
            "bench-500", mode="conversation", id=f"{PREFIX}{number}-{time.time_ns()}"
        )
        opened.append(run.id)
    events = EventsSettings(urls=(f"http://{HOST}:{port}",))
    async with (
        worker_process("gateway", command, temporal_address=address) as gateway,
        answer_publisher(Settings(events=events)) as publisher,
    ):
        assert publisher is not None
        await _listens(port)
        yield Stand(port, gateway, publisher, opened)


async def _listens(port: int) -> None:
    async with asyncio.timeout(WITHIN_S):
        while True:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection(HOST, port)
                writer.close()
                return
            await asyncio.sleep(0.05)


async def _delays(stand: Stand, tokens: int, gap_s: float) -> list[float]:
    writers = [stand.writer(run_id, 1) for run_id in stand.run_ids]
    for writer in writers:
        writer.answer.add(WORD)
    async with stand.subscribed(len(writers)) as subscribers:
        for writer, subscriber in zip(writers, subscribers, strict=True):
            writer.characters = subscriber.characters
            subscriber.arrivals.clear()
        await asyncio.gather(*(writer.write(tokens, gap_s) for writer in writers))
        async with asyncio.timeout(WITHIN_S):
            # What is read sets no event.
            while any(  # noqa: ASYNC110
                each.characters < writers[0].characters for each in subscribers
            ):
                await asyncio.sleep(0.01)
    pairs = zip(writers, subscribers, strict=True)
    return [delay for writer, subscriber in pairs for delay in delays_ms(writer, subscriber)]


async def _reconnects(stand: Stand, count: int) -> list[float]:
    """Return the times from a connection in mid-answer to its first text."""
    found = []
    for number in range(count):
        run_id = stand.run_ids[number % len(stand.run_ids)]
        writer = stand.writer(run_id, 2 + number)
        writer.answer.add(WORD)
        subscriber = Subscriber(stand.port, run_id)
        for attempt in range(2):
            opened, before = asyncio.Event(), subscriber.characters
            writer.answer.add(WORD)
            began = time.perf_counter()
            reading = asyncio.create_task(subscriber.read(opened))
            async with asyncio.timeout(WITHIN_S):
                while subscriber.characters <= before:  # noqa: ASYNC110 what is read sets no event
                    await asyncio.sleep(0.001)
            if attempt:
                found.append((time.perf_counter() - began) * 1_000)
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
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
        cpu_s, began = stand.gateway.cpu_s(), time.perf_counter()
        delays = await _delays(stand, tokens, gap_s)
        cpu = (stand.gateway.cpu_s() - cpu_s) / (time.perf_counter() - began)
        again = await _reconnects(stand, reconnects)
        for run_id in stand.run_ids:
            stand.writer(run_id, 1_000).answer.add(WORD * 100)
        async with stand.subscribed(subscribers):
            with_mib = stand.gateway.rss_mib()
        for run_id in stand.run_ids:
            await base.client.get_workflow_handle(run_id).cancel()
    return [
        Table(
            f"Text of answers: {runs} runs, 50 tokens a second each, one subscriber a run",
            ["", "tokens", "median ms", "p95 ms", "gateway CPUs"],
            [["worker to subscriber", len(delays), median(delays), percentile(delays), cpu]],
        ),
        Table(
            f"First text after a reconnect in mid-answer ({reconnects} times)",
            ["", "median ms", "p95 ms"],
            [["reconnect", median(again), percentile(again)]],
        ),
        Table(
            f"Memory of the gateway with {subscribers:,} subscribers of {runs} runs",
            ["", "MiB before", "MiB with them"],
            [["resident", before_mib, with_mib]],
        ),
    ]

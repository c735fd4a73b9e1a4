"""What traces cost: the same worker without telemetry, with metrics, and with traces too."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from statistics import median

from outlast_workers.local.ports import free_port

from bench.measure import Bench, Timed, bench
from bench.subjects import Load, Outlast
from bench.tables import Cell, Table

HEAD_END = b"\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n"
MAX_HEAD_BYTES = 65_536

MODEL_S = 1.0
"""How long a model takes for a short answer."""

RUNS_AT_ONCE = 8
"""Runs that wait for their models at the same time, as in a worker that serves many."""

Measures = dict[str, list[Timed]]


class Variant(Outlast):
    """A worker with local tools, and with some of the telemetry."""

    is_local = "true"

    def __init__(self, name: str, *variables: str) -> None:
        self.name = name
        self.queue = f"agents-{name}"
        self._variables = variables

    def worker(self, model_url: str) -> list[str]:
        """Return the command of the worker process."""
        return [*self._variables, *super().worker(model_url)]


def variants(endpoint: str) -> list[Variant]:
    """Return the workers that are compared: each has the telemetry of the one before, and more."""

    def metrics() -> str:
        return f"OUTLAST_METRICS__PORT={free_port()}"

    return [
        Variant("untraced"),
        Variant("metrics", metrics()),
        Variant("traced", metrics(), f"OUTLAST_OTLP_ENDPOINT={endpoint}"),
    ]


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
    """Measure a turn with and without traces, with a fast model and with one that takes its time.

    A turn has one prompt and one local call.
    """
    async with collector() as endpoint, bench() as stand:
        subjects = variants(endpoint)
        async with stand.workers(subjects):
            fast = await _measured(stand, subjects, Load(turns), rounds)
            slow_load = Load(max(2, turns // 4), model_s=MODEL_S)
            slow = await _measured(stand, subjects, slow_load, max(1, rounds // 8), RUNS_AT_ONCE)
    return [
        _table(f"Tracing, no model latency (a run of {turns} turns at a time)", fast, turns),
        _table(
            f"Tracing, a model that takes {MODEL_S:g} s ({RUNS_AT_ONCE} runs at once)",
            slow,
            slow_load.turns,
            at_once=RUNS_AT_ONCE,
        ),
    ]


async def _measured(
    stand: Bench, subjects: Sequence[Variant], load: Load, rounds: int, count: int = 1
) -> Measures:
    found: Measures = {subject.name: [] for subject in subjects}
    # Each in turn first, so that a disturbance of the machine meets all of them.
    orders = itertools.cycle(itertools.permutations(subjects))
    for order in itertools.islice(orders, rounds):
        for subject in order:
            found[subject.name].append(await stand.timed(subject, load, count=count))
    return found


def _table(title: str, found: Measures, turns: int, *, at_once: int = 1) -> Table:
    """Return the medians of a turn, and the ratios to the worker with one part of telemetry less.

    CPU time is that of one turn of one run, also if some run `at_once`.
    """
    rows: list[list[Cell]] = []
    previous: list[Timed] | None = None
    for name, times in found.items():
        wall_ms = median(each.wall_s for each in times) * 1_000 / turns
        cpu_ms = median(each.worker_cpu_s for each in times) * 1_000 / turns / at_once
        rows.append([name, wall_ms, *_ratio("wall_s", times, previous)])
        rows[-1] += [cpu_ms, *_ratio("worker_cpu_s", times, previous)]
        previous = times
    wall = ["ms a turn", "x above", "low", "high"]
    cpu = ["CPU ms a turn", "CPU x above", "CPU low", "CPU high"]
    rounds = len(found["traced"])
    return Table(f"{title}; {rounds} rounds, quartiles of ratios", ["worker", *wall, *cpu], rows)


def _ratio(what: str, times: list[Timed], previous: list[Timed] | None) -> list[Cell]:
    """Return the median and the quartiles of the ratios of all rounds."""
    if previous is None:
        return [None, None, None]
    pairs = zip(times, previous, strict=True)
    ratios = sorted(getattr(one, what) / getattr(other, what) for one, other in pairs)
    quarter = len(ratios) // 4
    return [median(ratios), ratios[quarter], ratios[-1 - quarter]]

"""The benchmarks. Each sets up a bench of its own, and returns its tables."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from bench.measure import Bench, Timed, actions_of, bench, history_size
from bench.recovery import KILLED_AFTER_S
from bench.recovery import recovery as recovery_after
from bench.scaling.bursts import scaling as scaled
from bench.streaming import streaming as streamed
from bench.subjects import FLOOR, NAIVE, OUTLAST, Load, Subject
from bench.tables import Table, ratio
from bench.tracing import tracing as traced
from bench.waiting import Waited, Waiter, table_of, waited, waiters_of

RESULT_SIZES = (500, 5_000)
"""Characters of a tool result: a record, and a page."""

RUNS_AT_ONCE = 100
OPEN_RUNS = 1_000
LONG_RUN_TURNS = 400


@dataclass(frozen=True)
class Options:
    """What to measure: `turns` overrides a benchmark's own, `quick` shortens all of it."""

    subjects: Sequence[Subject]
    turns: tuple[int, ...] = ()
    quick: bool = False

    def choose(self, usual: int, quick: int) -> int:
        """Return one of two numbers."""
        return quick if self.quick else usual

    def turns_or(self, usual: int, quick: int) -> int:
        """Return the turns of a run."""
        return self.turns[0] if self.turns else self.choose(usual, quick)


@dataclass(frozen=True)
class Started:
    """One start of a worker: seconds to the end of its first run, and what the process used until then."""

    wall_s: float
    cpu_s: float
    rss_mib: float


async def history(options: Options) -> list[Table]:
    """Measure what runs record: bytes and events, and how they grow with the turns."""
    lengths = options.turns or ((5, 10, 20) if options.quick else (10, 50, 100))
    tables = []
    async with bench() as stand, stand.workers(options.subjects):
        for size in RESULT_SIZES:
            tables += await _history_tables(stand, options.subjects, lengths, size)
        tables.append(await _actions_table(stand, options.subjects))
        if OUTLAST in options.subjects:
            tables.append(await _long_run(stand, options.choose(LONG_RUN_TURNS, 60)))
    return tables


async def _history_tables(
    stand: Bench, subjects: Sequence[Subject], lengths: Sequence[int], size: int
) -> list[Table]:
    kilobytes: dict[str, list[float]] = {}
    events: dict[str, list[int]] = {}
    for subject in subjects:
        runs = [await stand.run(subject, Load(count, result_size=size)) for count in lengths]
        sizes = [await history_size(stand.client, run) for run in runs]
        kilobytes[subject.name] = [found.bytes / 1_000 for found in sizes]
        events[subject.name] = [found.events for found in sizes]
    growth = f"growth {lengths[-2]} to {lengths[-1]}" if len(lengths) > 1 else "growth"
    columns = ["subject", *(f"{count} turns" for count in lengths), growth, "a turn"]
    columns += ["x floor", "x naive"]
    what = f"{size:,} characters a tool result; ratios at {lengths[-1]} turns"
    return [
        Table(f"History, kB ({what})", columns, _growing(kilobytes, lengths)),
        Table(f"History, events ({what})", columns, _growing(events, lengths)),
    ]


async def _actions_table(stand: Bench, subjects: Sequence[Subject]) -> Table:
    turns = 10
    rows: list[list[float | str | None]] = []
    for subject in subjects:
        run = await stand.run(subject, Load(turns))
        rows.append([subject.name, await actions_of(run)])
    title = f"Billable actions of a run of {turns} turns, with the rules of Temporal Cloud"
    return Table(title, ["subject", "actions"], rows)


def _growing(
    found: dict[str, list[float]] | dict[str, list[int]], lengths: Sequence[int]
) -> list[list[float | str | None]]:
    return [
        [
            name,
            *values,
            ratio(values[-1], values[-2]) if len(values) > 1 else None,
            (values[-1] - values[-2]) / (lengths[-1] - lengths[-2]) if len(values) > 1 else None,
            *_against(values[-1], {other: each[-1] for other, each in found.items()}),
        ]
        for name, values in found.items()
    ]


async def _long_run(stand: Bench, count: int) -> Table:
    size = max(RESULT_SIZES)
    began = time.perf_counter()
    run = await stand.run(OUTLAST, Load(count, result_size=size))
    took = time.perf_counter() - began
    found = await history_size(stand.client, run)
    return Table(
        f"A long run of outlast ({size:,} characters a tool result)",
        ["turns", "kB", "events", "runs in its chain", "s"],
        [[str(count), found.bytes / 1_000, found.events, found.runs, took]],
    )


async def latency(options: Options) -> list[Table]:
    """Measure a turn in series: time, and CPU time of the worker. Rounds are interleaved."""
    count, rounds = options.turns_or(30, 10), options.choose(7, 2)
    async with bench() as stand, stand.workers(options.subjects):
        found = await _rounds(stand, options.subjects, Load(count), rounds=rounds, runs=1)
    wall = {name: _median_ms(times, "wall_s", count) for name, times in found.items()}
    cpu = {name: _median_ms(times, "worker_cpu_s", count) for name, times in found.items()}
    return [
        Table(
            f"Latency (one run of {count} turns at a time; medians of {rounds} rounds)",
            [
                "subject",
                "ms a turn",
                "x floor",
                "x naive",
                "worker CPU ms a turn",
                "CPU x floor",
                "CPU x naive",
            ],
            [
                [
                    name,
                    wall[name],
                    *_against(wall[name], wall),
                    cpu[name],
                    *_against(cpu[name], cpu),
                ]
                for name in found
            ],
        )
    ]


async def throughput(options: Options) -> list[Table]:
    """Measure many runs at once: turns a second, and CPU time of worker and server a turn."""
    count, rounds = options.turns_or(10, 3), options.choose(3, 1)
    runs = options.choose(RUNS_AT_ONCE, 20)
    async with bench() as stand, stand.workers(options.subjects):
        found = await _rounds(stand, options.subjects, Load(count), rounds=rounds, runs=runs)
        resident = {subject.name: stand.rss_mib(subject) for subject in options.subjects}
    turns = count * runs
    rate = {name: 1_000 / _median_ms(times, "wall_s", turns) for name, times in found.items()}
    cpu = {name: _median_ms(times, "worker_cpu_s", turns) for name, times in found.items()}
    server = {name: _median_ms(times, "server_cpu_s", turns) for name, times in found.items()}
    return [
        Table(
            f"Throughput ({runs} runs of {count} turns at once; medians of {rounds} rounds)",
            [
                "subject",
                *("turns/s", "x floor", "x naive"),
                *("worker CPU ms a turn", "CPU x floor", "CPU x naive"),
                *("server CPU ms a turn", "worker MiB after"),
            ],
            [
                [
                    name,
                    *(rate[name], *_against(rate[name], rate)),
                    *(cpu[name], *_against(cpu[name], cpu)),
                    *(server[name], resident[name]),
                ]
                for name in found
            ],
        )
    ]


async def memory(options: Options) -> list[Table]:
    """Measure the worker's memory with many runs open that wait for a signal."""
    count, runs = options.turns_or(3, 2), options.choose(OPEN_RUNS, 50)
    load = Load(count, stay_open=True)
    idle: dict[str, float] = {}
    loaded: dict[str, float] = {}
    async with bench() as stand:
        for subject in options.subjects:
            async with stand.workers([subject]):
                idle[subject.name] = stand.rss_mib(subject)
                handles = await stand.start_many(subject, load, runs)
                for handle in handles:
                    await stand.until_idle(handle, load)
                loaded[subject.name] = stand.rss_mib(subject)
    return [
        Table(
            f"Memory of a worker ({runs:,} runs of {count} turns, all open and waiting)",
            ["subject", "MiB before", "MiB", "x floor", "x naive", "KiB a run"],
            [
                [
                    *(name, idle[name], loaded[name]),
                    *_against(loaded[name], loaded),
                    (loaded[name] - idle[name]) * 1_024 / runs,
                ]
                for name in loaded
            ],
        )
    ]


async def waiting(options: Options) -> list[Table]:
    """Measure many runs that wait for a person on one worker, each worker alone on the machine."""
    runs = options.choose(OPEN_RUNS, 50)
    found: dict[Waiter, Waited] = {}
    for waiter in waiters_of([subject.name for subject in options.subjects], runs):
        async with bench() as stand:
            found[waiter] = await waited(stand, waiter, runs)
    return [table_of(found, runs)]


async def startup(options: Options) -> list[Table]:
    """Measure from the start of a worker process to the end of its first run of 2 turns."""
    count, rounds = options.turns_or(2, 2), options.choose(7, 1)
    found: dict[str, list[Started]] = {subject.name: [] for subject in options.subjects}
    async with bench() as stand:
        for _ in range(rounds):
            for subject in options.subjects:
                began = time.perf_counter()
                async with stand.worker(subject) as process:
                    await stand.run(subject, Load(count))
                    took = time.perf_counter() - began
                    found[subject.name].append(Started(took, process.cpu_s(), process.rss_mib()))
    wall = {name: median(each.wall_s for each in starts) for name, starts in found.items()}
    cpu = {name: median(each.cpu_s for each in starts) for name, starts in found.items()}
    resident = {name: median(each.rss_mib for each in starts) for name, starts in found.items()}
    return [
        Table(
            f"Startup (worker process to the end of a run of {count} turns; {rounds} rounds)",
            [
                *("subject", "s", "x floor", "x naive"),
                *("worker CPU s", "CPU x floor", "CPU x naive"),
                *("MiB", "MiB x floor"),
            ],
            [
                [
                    *(name, wall[name], *_against(wall[name], wall)),
                    *(cpu[name], *_against(cpu[name], cpu)),
                    *(resident[name], _against(resident[name], resident)[0]),
                ]
                for name in found
            ],
        )
    ]


async def _rounds(
    stand: Bench, subjects: Sequence[Subject], load: Load, *, rounds: int, runs: int
) -> dict[str, list[Timed]]:
    """Time every subject in every round, so that a disturbance of the machine meets them all."""
    found: dict[str, list[Timed]] = {subject.name: [] for subject in subjects}
    for _ in range(rounds):
        for subject in subjects:
            found[subject.name].append(await stand.timed(subject, load, count=runs))
            await asyncio.sleep(0.2)
    return found


def _median_ms(times: Sequence[Timed], what: str, turns: int) -> float:
    seconds: list[float] = [getattr(timed, what) for timed in times]
    return median(seconds) * 1_000 / turns


def _against(value: float, values: dict[str, float]) -> tuple[float | None, float | None]:
    """Return the ratios of a value to those of floor and naive in the same run."""
    return ratio(value, values.get(FLOOR.name)), ratio(value, values.get(NAIVE.name))


async def scaling(options: Options) -> list[Table]:
    """Measure an autoscaler: what its scale-in interrupts, and how long a burst takes."""
    return await scaled(quick=options.quick)


async def recovery(options: Options) -> list[Table]:
    """Measure how long a model call takes to recover from a killed worker. No ratios: timers decide."""
    return await recovery_after(KILLED_AFTER_S[: options.choose(3, 1)], options.choose(3, 1))


async def tracing(options: Options) -> list[Table]:
    """Measure what traces cost a turn, with and without a collector in the same run."""
    return await traced(turns=options.turns_or(16, 4), rounds=options.choose(48, 2))


async def streaming(options: Options) -> list[Table]:
    """Measure the text of answers, from a worker's push through a gateway to its subscribers."""
    return await streamed(
        runs=options.choose(100, 10),
        tokens=options.choose(500, 50),
        subscribers=options.choose(1_000, 50),
        reconnects=options.choose(50, 5),
    )


BENCHMARKS = {
    "history": history,
    "latency": latency,
    "throughput": throughput,
    "memory": memory,
    "startup": startup,
    "recovery": recovery,
    "waiting": waiting,
    "scaling": scaling,
    "tracing": tracing,
    "streaming": streaming,
}

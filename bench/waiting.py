"""Runs that wait for a person: what each costs a worker, and how soon a decision is acted on."""

import asyncio
import itertools
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median, quantiles
from typing import Protocol

from temporalio.client import Client

from bench.measure import RUN_TIMEOUT_S, STARTED_AT_ONCE, Bench
from bench.scripted_model_server import turns
from bench.subjects import FLOOR, OUTLAST, Handle, Load, Served
from bench.tables import Cell, Table, ratio
from bench.workload import FLOOR_QUEUE, QUESTION

TOOL = "note_start"
"""The activity that a decision lets start; it returns when its first line ran."""

DECISION = {"request_id": "1.1", "decision": "approve", "by": "bench"}

DECISIONS_A_SECOND = 10
"""Far below what a worker can do: what is measured is the way, and no queue."""

WARM_UPS = 20
"""Runs before a worker's memory is read, so that what it loads once counts for no run."""

BEFORE_THE_DECISION = Load(turns=1)


class Waiter(Served, Protocol):
    """Something whose runs wait for a decision, and then call the tool."""

    @property
    def base(self) -> str:
        """Which subject it is one of."""
        ...

    @property
    def cached(self) -> int:
        """How many runs its worker keeps in memory."""
        ...

    async def start(self, client: Client, workflow_id: str) -> Handle:
        """Start a run."""
        ...


@dataclass(frozen=True)
class FloorWaiter:
    """A workflow that does nothing else; its worker keeps `cached` runs in memory."""

    cached: int
    base = FLOOR.name

    @property
    def name(self) -> str:
        """What tables call it."""
        return f"floor, {self.cached:,} cached"

    def worker(self, model_url: str) -> list[str]:
        """Return the command of the worker process."""
        return [*FLOOR.worker(model_url), "--cached", str(self.cached)]

    async def start(self, client: Client, workflow_id: str) -> Handle:
        """Start a run."""
        return await client.start_workflow("FloorWaiting", id=workflow_id, task_queue=FLOOR_QUEUE)


@dataclass(frozen=True)
class OutlastWaiter:
    """An agent whose only tool has to be approved; with `tool_slots`, tools have a queue of their own."""

    cached: int
    tool_slots: int | None = None
    base = OUTLAST.name

    @property
    def name(self) -> str:
        """What tables call it."""
        slots = f", {self.tool_slots} tool slot" if self.tool_slots else ""
        return f"outlast, {self.cached:,} cached{slots}"

    def worker(self, model_url: str) -> list[str]:
        """Return the command of the worker process."""
        variables = [f"OUTLAST_CONCURRENCY__CACHED_WORKFLOWS={self.cached}"]
        if self.tool_slots:
            variables += [f"OUTLAST_CONCURRENCY__TOOLS={self.tool_slots}"]
            variables += ["OUTLAST_QUEUES__TOOLS=bench-tools"]
        return [*variables, *OUTLAST.worker(model_url)]

    async def start(self, client: Client, workflow_id: str) -> Handle:
        """Start a run."""
        request = {"agent": "bench-waiting", "input": QUESTION}
        return await client.start_workflow(
            "AgentWorkflow", request, id=workflow_id, task_queue=OUTLAST.queue
        )


@dataclass(frozen=True)
class Waited:
    """What was measured of one worker: its memory, and each decision's way to the tool."""

    mib_before: float
    mib: float
    ms: Sequence[float]

    @property
    def kib_a_run(self) -> float:
        """What each run that waits added to the worker."""
        return (self.mib - self.mib_before) * 1_024 / len(self.ms)

    @property
    def median_ms(self) -> float:
        """The median."""
        return median(self.ms)

    @property
    def p99_ms(self) -> float:
        """What one decision in a hundred exceeds."""
        return quantiles(self.ms, n=100)[98]


def waiters_of(bases: Sequence[str], runs: int) -> list[Waiter]:
    """Return the workers to measure: with all runs in memory, with a tenth, and with one tool slot."""
    every: list[Waiter] = [
        FloorWaiter(runs),
        FloorWaiter(runs // 10),
        OutlastWaiter(runs),
        OutlastWaiter(runs // 10),
        OutlastWaiter(runs, tool_slots=1),
    ]
    return [waiter for waiter in every if waiter.base in bases]


def table_of(found: Mapping[Waiter, Waited], runs: int) -> Table:
    """Return what was measured, beside the floor that keeps as many runs in memory."""
    floors = {waiter.cached: seen for waiter, seen in found.items() if waiter.base == FLOOR.name}
    rows: list[list[Cell]] = []
    for waiter, seen in found.items():
        row: list[Cell] = [waiter.name, seen.mib_before, seen.mib]
        floor = floors.get(waiter.cached)
        for what in ("kib_a_run", "median_ms", "p99_ms"):
            value: float = getattr(seen, what)
            row += [value, ratio(value, getattr(floor, what, None))]
        rows.append(row)
    return Table(
        f"Waiting for a person ({runs:,} runs at once; from `decide` to the tool's first line, "
        f"{DECISIONS_A_SECOND} decisions a second)",
        [
            *("worker", "MiB before", "MiB waiting", "KiB a run", "KiB x floor"),
            *("median ms", "median x floor", "p99 ms", "p99 x floor"),
        ],
        rows,
    )


async def waited(stand: Bench, waiter: Waiter, runs: int) -> Waited:
    """Let runs wait, all at once, on one worker, and then decide on one after another."""
    stand.model.script = turns(2)
    numbers = itertools.count(1)
    async with stand.worker(waiter):
        await _decided(await _waiting(stand, waiter, WARM_UPS, numbers))
        before = stand.rss_mib(waiter)
        handles = await _waiting(stand, waiter, runs, numbers)
        resident = stand.rss_mib(waiter)
        sent = await _decided(handles)
    started = [await _tool_started(handle) for handle in handles]
    ms = [(start - at) / 1e6 for at, start in zip(sent, started, strict=True)]
    return Waited(before, resident, ms)


async def _waiting(
    stand: Bench, waiter: Waiter, runs: int, numbers: "itertools.count[int]"
) -> list[Handle]:
    """Start runs and wait until each has nothing under way, no activity either: it waits."""
    gate = asyncio.Semaphore(STARTED_AT_ONCE)

    async def waiting() -> Handle:
        async with gate:
            workflow_id = f"{waiter.name}-{next(numbers)}"
            handle = await waiter.start(stand.client, workflow_id)
            await stand.until_idle(handle, BEFORE_THE_DECISION)
            return handle

    return list(await asyncio.gather(*(waiting() for _ in range(runs))))


async def _decided(handles: Sequence[Handle]) -> list[int]:
    """Approve each at a modest rate and wait for the ends; return when each decision was sent."""

    async def decide(handle: Handle, after_s: float) -> int:
        await asyncio.sleep(after_s)
        sent = time.time_ns()
        await handle.execute_update("decide", DECISION)
        await handle.result()
        return sent

    async with asyncio.timeout(RUN_TIMEOUT_S + len(handles) / DECISIONS_A_SECOND):
        decisions = [
            decide(handle, number / DECISIONS_A_SECOND) for number, handle in enumerate(handles)
        ]
        return list(await asyncio.gather(*decisions))


async def _tool_started(handle: Handle) -> int:
    """Return when the tool's first line ran, as the tool itself reports."""
    scheduled = 0
    async for event in handle.fetch_history_events():
        schedule = event.activity_task_scheduled_event_attributes
        if schedule.activity_type.name == TOOL:
            scheduled = event.event_id
        completed = event.activity_task_completed_event_attributes
        if scheduled and completed.scheduled_event_id == scheduled:
            return int(json.loads(completed.result.payloads[0].data))
    raise RuntimeError(f"{handle.id} ended without a call of {TOOL}")

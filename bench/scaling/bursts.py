"""Scaling: an autoscaler over real worker processes, played as KEDA and the HPA document themselves.

KEDA takes a deployment from 0 to its minimum and back to 0; in between the HPA goes by
`ceil(metric / target)`, at the highest that it has wanted within its stabilisation window when it
scales in. The ReplicaSet ends the worker whose deletion cost is lowest: at random where none was set.
"""

import asyncio
import math
import os
import random
import shutil
import sys
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Literal

from outlast_workers.demand.deletion_costs import busy_pods, costs_to_send
from outlast_workers.demand.demand_query import DemandQuery, Reading, Target
from outlast_workers.demand.temporal_source import TemporalSource
from outlast_workers.local.servers import ChildProcess
from temporalio.client import Client, WorkflowHandle
from temporalio.worker import Worker

from bench.processes import LOGS, temporal_server
from bench.scaling.napping import POLLS_AT, TASK_QUEUE, WORKFLOW_QUEUE, Napper
from bench.scaling.plot import drawn
from bench.tables import Cell, Table

FASTER = 10
"""By how much all times of KEDA, the HPA, workers and work are shortened."""

HPA_SYNC_S = 15 / FASTER
STABILISATION_S = 300 / FASTER
COOLDOWN_S = 300 / FASTER
COLD_START_S = 30 / FASTER
TOLERANCE = 0.1
"""The HPA's default: it changes nothing for a deviation of the ratio by up to this."""

SHORT_WORK_S = 60 / FASTER
LONG_WORK_S = 360 / FASTER
"""Longer than the stabilisation window, as an agent's long tool or a batch on a GPU is."""

SHORT_DRAIN_S = 20 / FASTER
"""Less than the work takes, so that a worker that is ended at its work is seen to interrupt it."""

LONG_DRAIN_S = 1.6 * LONG_WORK_S
"""More than the work takes."""

HEARTBEAT_S = 1.0
END_WITHIN_S = 60.0
SETTLE_S = 5.0
"""What a warm minimum has to start, so that it is warm."""

SEED = 7

NAME = "napper-"
"""How the names of workers begin."""

_MAPPED = () if os.geteuid() == 0 else ("--map-root-user",)

AS_A_POD = ("unshare", *_MAPPED, "--uts", "sh", "-c", 'hostname "$0" && exec "$@"')
"""Gives a process a host name of its own, as a pod has; on Linux."""

IMAGE = Path(__file__).parents[2] / "docs" / "images" / "scaling.svg"

Trigger = Literal["backlog", "demand"]


@dataclass(frozen=True)
class Policy:
    """What a deployment is scaled by, within what bounds, and how often it is looked at."""

    trigger: Trigger
    poll_s: float
    minimum: int
    maximum: int = 12
    slots: int = 1
    drain_s: float = SHORT_DRAIN_S
    sets_costs: bool = False
    """Whether the demand service sets deletion costs."""
    utilization: float = 0.9
    """The share of slots that scaling aims at, as `scaling.targetUtilization` of the chart."""

    def wanted(self, metric: int, replicas: int) -> int:
        """Return how many replicas the HPA wants, by its documented formula with its tolerance."""
        target = self.slots * self.utilization
        if replicas and abs(metric / (replicas * target) - 1) <= TOLERANCE:
            return replicas
        return math.ceil(metric / target)

    def metric(self, reading: Reading) -> int:
        """Return what the trigger shows."""
        answer = DemandQuery(Target(TASK_QUEUE), ("activity",), self.slots).evaluate(reading)
        return answer.demand if self.trigger == "demand" else answer.backlog


@dataclass
class Scaler:
    """The loop of KEDA and the HPA, on the processes of one deployment."""

    policy: Policy
    source: TemporalSource
    address: str
    stack: AsyncExitStack
    seconds: Callable[[], float] = time.monotonic
    workers: list[ChildProcess] = field(default_factory=list)
    most: int = 0
    scaled_in: int = 0
    wanted: deque[tuple[float, int]] = field(default_factory=deque)
    samples: list[tuple[float, int, int, int]] = field(default_factory=list)
    started: list[tuple[float, ChildProcess]] = field(default_factory=list)
    """Every worker process, with the time of its start."""
    _costs: dict[str, int | None] = field(default_factory=dict)
    _active_at: float = 0.0
    _ending: set[asyncio.Task[None]] = field(default_factory=set)
    _random: random.Random = field(default_factory=lambda: random.Random(SEED))  # noqa: S311

    async def run(self) -> None:
        """Scale until cancelled."""
        policy = self.policy
        await self._to(policy.minimum)
        keda_at = hpa_at = began = self._active_at = self.seconds()
        while True:
            now = self.seconds()
            reading = await self.source.read(Target(TASK_QUEUE))
            load = reading.loads["activity"]
            self.samples.append((now - began, load.backlog, load.busy, len(self.workers)))
            if now >= keda_at:
                keda_at = now + policy.poll_s
                if policy.sets_costs:
                    self._costs |= costs_to_send(self._costs, busy_pods([reading], NAME))
                await self._activate(policy.metric(reading), now)
            if now >= hpa_at and self.workers:
                hpa_at = now + HPA_SYNC_S
                await self._to(self._recommended(policy.metric(reading), now))
            await asyncio.sleep(0.25)

    def starts_s(self) -> list[float]:
        """Return what the workers took until they polled, longer than their cold start."""
        return [
            float(line.removeprefix(POLLS_AT)) - began - COLD_START_S
            for began, child in self.started
            for line in child.log_file.read_text().splitlines()
            if line.startswith(POLLS_AT)
        ]

    async def _activate(self, metric: int, now: float) -> None:
        if metric > 0:
            self._active_at = now
            if not self.workers:
                await self._to(max(1, self.policy.minimum))
        elif self.policy.minimum == 0 and now - self._active_at > COOLDOWN_S:
            await self._to(0)

    def _recommended(self, metric: int, now: float) -> int:
        policy = self.policy
        ready = policy.wanted(metric, len(self.workers))
        want = min(max(ready, policy.minimum, 1), policy.maximum)
        self.wanted.append((now, want))
        while self.wanted[0][0] < now - STABILISATION_S:
            self.wanted.popleft()
        return max(want, min(len(self.workers), max(most for _, most in self.wanted)))

    async def _to(self, count: int) -> None:
        while len(self.workers) < count:
            self.workers.append(await self._started())
        while len(self.workers) > count:
            leaving = self._cheapest()
            self.workers.remove(leaving)
            self.scaled_in += 1
            self._ending.add(asyncio.create_task(leaving.stop(within_s=LONG_DRAIN_S + 10)))
        self.most = max(self.most, count)

    def _cheapest(self) -> ChildProcess:
        costs = [self._costs.get(worker.name) or 0 for worker in self.workers]
        least = min(costs)
        return self._random.choice(
            [one for one, cost in zip(self.workers, costs, strict=True) if cost == least]
        )

    async def _started(self) -> ChildProcess:
        options = {
            "--slots": self.policy.slots,
            "--drain-s": self.policy.drain_s,
            "--heartbeat-s": HEARTBEAT_S,
            "--cold-s": COLD_START_S,
        }
        words = [str(word) for option in options.items() for word in option]
        name = f"{NAME}{self._random.randrange(10**9)}"
        named = [*AS_A_POD, name] if self.policy.sets_costs else []
        command = ["/usr/bin/env", f"TEMPORAL_ADDRESS={self.address}", *named, sys.executable]
        child = ChildProcess(name, [*command, "-m", "bench.scaling.napping", *words], log_dir=LOGS)
        self.started.append((time.monotonic(), child))
        await child.start(_at_once)
        self.stack.push_async_callback(child.stop)
        return child


async def _at_once() -> bool:
    return True


@dataclass(frozen=True)
class Phase:
    """Activities that begin evenly over some seconds, and what passes until the next phase."""

    count: int
    over_s: float
    lasts_s: float
    work_s: float


@dataclass
class Nap:
    """An activity that was scheduled."""

    handle: WorkflowHandle[Napper, int]
    began: float
    for_s: float
    ended: float | None = None
    attempts: int = 0

    async def end(self) -> None:
        """Wait until it is done."""
        self.attempts = await self.handle.result()
        self.ended = time.monotonic()

    async def count(self) -> None:
        """Read how many attempts it has had, if it is not done."""
        if self.ended is None:
            pending = (await self.handle.describe()).raw_description.pending_activities
            self.attempts = max(one.attempt for one in pending)


@dataclass(frozen=True)
class Outcome:
    """What came of a load under a policy."""

    naps: list[Nap]
    scaled_in: int
    most: int
    samples: list[tuple[float, int, int, int]]
    starts_s: list[float]

    @property
    def interrupted(self) -> int:
        """The attempts that were cut off: all but the last of each activity."""
        return sum(nap.attempts - 1 for nap in self.naps)

    @property
    def unfinished(self) -> int:
        """The activities that were not done when patience ended."""
        return sum(nap.ended is None for nap in self.naps)

    @property
    def waits_s(self) -> list[float]:
        """What each activity took longer than its work."""
        return [nap.ended - nap.began - nap.for_s for nap in self.naps if nap.ended is not None]


async def simulate(policy: Policy, phases: Sequence[Phase]) -> Outcome:
    """Run a load on a server of its own."""
    async with AsyncExitStack() as stack:
        _, client = await stack.enter_async_context(temporal_server())
        await stack.enter_async_context(
            Worker(client, task_queue=WORKFLOW_QUEUE, workflows=[Napper])
        )
        address = client.service_client.config.target_host
        scaler = Scaler(policy, TemporalSource(client), address, stack)
        scaling = asyncio.create_task(scaler.run())
        await asyncio.sleep(SETTLE_S)
        naps: list[Nap] = []
        ends: list[asyncio.Task[None]] = []
        try:
            for phase in phases:
                async for nap in _arrivals(client, phase):
                    naps.append(nap)
                    ends.append(asyncio.create_task(nap.end()))
            await asyncio.wait(ends, timeout=END_WITHIN_S)
        finally:
            scaling.cancel()
        for end in ends:
            end.cancel()
        await asyncio.gather(*(nap.count() for nap in naps))
        return Outcome(naps, scaler.scaled_in, scaler.most, scaler.samples, scaler.starts_s())


async def _arrivals(client: Client, phase: Phase) -> AsyncIterator[Nap]:
    chance = random.Random(SEED)  # noqa: S311
    began = time.monotonic()
    for number in range(phase.count):
        due = began + phase.over_s * number / phase.count
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        for_s = phase.work_s * chance.uniform(0.5, 1.5)
        handle = await client.start_workflow(
            Napper.run, for_s, id=f"napper-{time.monotonic_ns()}", task_queue=WORKFLOW_QUEUE
        )
        yield Nap(handle, time.monotonic(), for_s)
    await asyncio.sleep(max(0.0, began + phase.lasts_s - time.monotonic()))


KEEN_S, SLOW_S = 5 / FASTER, 30 / FASTER

SCALE_IN = {
    "backlog, 1 slot": Policy("backlog", poll_s=KEEN_S, minimum=1),
    "demand, 1 slot": Policy("demand", poll_s=KEEN_S, minimum=1),
    "demand, 1 slot, deletion cost": Policy("demand", poll_s=KEEN_S, minimum=1, sets_costs=True),
    "demand, 4 slots": Policy("demand", poll_s=KEEN_S, minimum=1, slots=4),
    "demand, 1 slot, drain longer than the work": Policy(
        "demand", poll_s=KEEN_S, minimum=1, drain_s=LONG_DRAIN_S
    ),
}

BURST = {
    "polling 30 s, minimum 0": Policy("demand", poll_s=SLOW_S, minimum=0),
    "polling 5 s, minimum 2": Policy("demand", poll_s=KEEN_S, minimum=2),
}

AT_ONCE = 5
"""Simulations side by side; workers that nap use little but their start."""

Outcomes = dict[str, Outcome]


async def scaling(*, quick: bool) -> list[Table]:
    """Measure what scale-in interrupts, and how long a burst takes; draws what happened."""
    waves = [Phase(8, 8, 45, LONG_WORK_S)] * (1 if quick else 3)
    burst = Phase(25, 25, 25, SHORT_WORK_S)
    named = shutil.which(AS_A_POD[0])
    policies = {name: one for name, one in SCALE_IN.items() if named or not one.sets_costs}
    shrinking = await _outcomes(policies, waves)
    bursting = await _outcomes(BURST, [burst])
    if not quick:
        IMAGE.write_text(drawn({name: one.samples for name, one in shrinking.items()}, FASTER))
    return [
        Table(
            f"Scale-in: waves of long work (times 1/{FASTER} of the real scale)",
            ["scaled by", "activities", "scaled in", "interrupted", "per 100", "unfinished"],
            [_scale_in_row(name, one) for name, one in shrinking.items()],
        ),
        Table(
            "Burst (seconds of the real scale)",
            ["scaled by", "activities", "mean wait s", "longest wait s", "most workers", "start s"],
            [_burst_row(name, one) for name, one in bursting.items()],
        ),
    ]


def _scale_in_row(name: str, one: Outcome) -> list[Cell]:
    per_100 = 100 * one.interrupted / len(one.naps)
    return [name, len(one.naps), one.scaled_in, one.interrupted, per_100, one.unfinished]


def _burst_row(name: str, one: Outcome) -> list[Cell]:
    mean_s, longest_s = fmean(one.waits_s) * FASTER, max(one.waits_s) * FASTER
    start_s = fmean(one.starts_s) * FASTER if one.starts_s else math.nan
    return [name, len(one.naps), round(mean_s), round(longest_s), one.most, round(start_s)]


async def _outcomes(policies: dict[str, Policy], phases: Sequence[Phase]) -> Outcomes:
    places = asyncio.Semaphore(AT_ONCE)

    async def outcome(policy: Policy) -> Outcome:
        async with places:
            return await simulate(policy, phases)

    found = await asyncio.gather(*map(outcome, policies.values()))
    return dict(zip(policies, found, strict=True))

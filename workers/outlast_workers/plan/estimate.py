"""An architecture under a workload: simulated, and priced for a month."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from outlast_workers.plan.actions import actions_per_run, heartbeats
from outlast_workers.plan.architectures import WARM_SHARES, Architecture, PricedPool, architecture
from outlast_workers.plan.arrivals import sample_runs
from outlast_workers.plan.costs import (
    Cost,
    PoolUse,
    compute_usd,
    people_usd,
    temporal_usd,
    tokens_usd,
)
from outlast_workers.plan.price_list import HOURS_A_MONTH, PriceList
from outlast_workers.plan.simulation import Outcome, simulate
from outlast_workers.plan.workload import ARCHITECTURES, DAY_H, ArchitectureName, Workload

SMALLEST_PART = 1 / 4
"""Of the load that a simulation may have."""

MIN_RUNS = 150
"""Runs that are measured, at least."""

TURN_OVERHEAD_S = 0.03
"""What outlast and Temporal add to a turn (bench/README.md)."""


@dataclass(frozen=True)
class Estimate:
    """An architecture under a workload. Delays are in seconds."""

    architecture: Architecture
    cost: Cost
    runs_per_month: float
    actions_per_run: float
    start_p50_s: float
    start_p95_s: float
    completion_p50_s: float
    completion_p95_s: float
    starts_in_time: bool
    """Whether 19 of 20 runs started within `start_p95_s`, and all of them ended."""
    interrupted: int
    unfinished: int
    pools: Mapping[str, PoolUse]
    measured_runs: int
    steps: int
    """Steps that were simulated: what the simulation takes time for."""

    @property
    def usd_per_run(self) -> float:
        """Return the cost of one run, with people."""
        return self.cost.total / self.runs_per_month


@dataclass(frozen=True)
class Effort:
    """How long a simulation is. If the load has more steps, a part of it is simulated."""

    max_steps: int
    warm_up_s: float
    window_s: float
    """Load that is measured, at least."""


FULL = Effort(max_steps=100_000, warm_up_s=900.0, window_s=1_800.0)
ROUGH = Effort(max_steps=15_000, warm_up_s=300.0, window_s=900.0)
"""For the many simulations of break-even points and of what decides."""


@dataclass(frozen=True)
class Simulated:
    """An architecture with what came of its simulation, to be priced."""

    architecture: Architecture
    outcome: Outcome
    window: tuple[float, float]
    part: float
    """The part of the load that was simulated, on as many workers with fewer slots."""
    measured: Sequence[int]
    """The runs that arrived within the window."""
    heartbeats: float
    """Of a run."""

    @property
    def start_p95_s(self) -> float:
        """Return the time within which 19 of 20 runs started."""
        return _percentile(_sorted(self.outcome.start_delays, self.measured), 0.95)

    def meets(self, workload: Workload) -> bool:
        """Return whether runs start in time and all of them end."""
        return not self.outcome.unfinished and self.start_p95_s <= workload.start_p95_s


def measured_window(workload: Workload, effort: Effort) -> tuple[float, float]:
    """Return when the measured load begins and ends. It has whole periods of spikes."""
    begin = effort.warm_up_s + 2 * workload.run_s
    arrivals = workload.arrivals
    period = arrivals.spike_every_s if arrivals.spike_factor > 1 else 1.0
    needed = max(effort.window_s, 3 * workload.run_s, MIN_RUNS / workload.runs_per_s)
    return begin, begin + period * math.ceil(needed / period)


def simulated_all(workload: Workload, effort: Effort) -> dict[ArchitectureName, Simulated]:
    """Return every architecture, simulated."""
    found: dict[ArchitectureName, Simulated] = {}
    for name in ARCHITECTURES:
        found[name] = simulated(name, workload, effort=effort)
    return found


def simulated(name: ArchitectureName, workload: Workload, *, effort: Effort = FULL) -> Simulated:
    """Simulate an architecture with the smallest warm minimum that lets runs start in time.

    If none does, it is the largest.
    """
    begin, end = measured_window(workload, effort)
    steps = end * workload.runs_per_s * (2 * workload.turns - 1)
    part = 1.0
    while steps * part > effort.max_steps and part > SMALLEST_PART:
        part /= 2
    load = workload.model_copy(update={"concurrent_runs": workload.concurrent_runs * part})
    runs = sample_runs(load, end)
    measured = [number for number, run in enumerate(runs) if run.arrives_at >= begin]
    tried: list[Mapping[str, PricedPool]] = []
    best: Simulated | None = None
    for share in WARM_SHARES:
        simulated_part = architecture(name, workload, warm_share=share, part=part)
        if simulated_part.pools in tried:
            continue
        tried.append(simulated_part.pools)
        plans = {name: pool.plan for name, pool in simulated_part.pools.items()}
        outcome = simulate(runs, plans, simulated_part.routes, seed=workload.seed)
        whole = architecture(name, workload, warm_share=share)
        beats = _heartbeats(outcome, len(runs))
        best = Simulated(whole, outcome, (begin, end), part, measured, beats)
        if best.meets(workload):
            break
    assert best is not None  # noqa: S101 there is at least one share
    return best


def priced(result: Simulated, workload: Workload, prices: PriceList) -> Estimate:
    """Return the estimate of a simulation. Hours, team and prices may differ from those of its workload."""
    chosen, outcome = result.architecture, result.outcome
    delays = _sorted(outcome.start_delays, result.measured)
    completions = _sorted(outcome.completions, result.measured)
    actions = actions_per_run(workload.turns) + result.heartbeats
    active_hours = HOURS_A_MONTH * workload.active_hours_per_day / DAY_H
    overhead_s = TURN_OVERHEAD_S * workload.turns
    pools = {name: _use(name, pool, result) for name, pool in chosen.pools.items()}
    return Estimate(
        architecture=chosen,
        cost=Cost(
            compute=compute_usd(chosen, pools, active_hours, prices),
            temporal=temporal_usd(chosen, workload, actions, prices),
            tokens=tokens_usd(workload),
            people=people_usd(chosen, workload),
        ),
        runs_per_month=workload.runs_per_month,
        actions_per_run=actions,
        start_p50_s=_percentile(delays, 0.5),
        start_p95_s=_percentile(delays, 0.95),
        completion_p50_s=_percentile(completions, 0.5) + overhead_s,
        completion_p95_s=_percentile(completions, 0.95) + overhead_s,
        starts_in_time=result.meets(workload),
        interrupted=sum(usage.interrupted for usage in outcome.usage.values()),
        unfinished=outcome.unfinished,
        pools=pools,
        measured_runs=len(result.measured),
        steps=len(outcome.step_waits),
    )


def _sorted(values: Sequence[float | None], numbers: Sequence[int]) -> list[float]:
    return sorted(value for number in numbers if (value := values[number]) is not None)


def _percentile(ordered: Sequence[float], share: float) -> float:
    """Return the smallest value that is at least as large as a share of the values."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else math.inf


def _heartbeats(outcome: Outcome, runs: int) -> float:
    """Return the mean heartbeats of a run."""
    total = sum(heartbeats(role, taken) for role, taken in outcome.calls_s.items())
    return total / runs


def _use(name: str, pool: PricedPool, result: Simulated) -> PoolUse:
    begin, end = result.window
    outcome, usage = result.outcome, result.outcome.usage[name]
    machines = usage.machine_seconds(0.0, outcome.ended_at, per_machine=pool.per_machine)
    slots_s = machines * pool.per_machine * pool.plan.slots * result.part
    served = sum(outcome.served.values())
    starts_per_s = usage.starts / outcome.ended_at if outcome.ended_at else 0.0
    return PoolUse(
        mean_machines=usage.machine_seconds(begin, end, per_machine=pool.per_machine)
        / (end - begin),
        most_workers=usage.most_workers,
        share_of_steps=outcome.served[name] / served if served else 0.0,
        share_busy=usage.busy_s / slots_s if slots_s else 0.0,
        starts_per_hour=starts_per_s * 3_600,
    )

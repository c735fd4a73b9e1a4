"""The planner's simulation beside what `bench scaling` measured with real workers."""

import json
import random
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
from outlast_workers.plan.pools import PoolPlan
from outlast_workers.plan.simulation import Routes, SimulatedLeg, SimulatedRun, simulate

from bench.scaling import bursts

ROOT = Path(__file__).parents[2]
MEASURED = json.loads((ROOT / "bench" / "measured" / "bursts.json").read_text())["bursts"]
WITHIN = 0.15
SEEDS = 5


def simulated_waits(burst: dict[str, Any]) -> tuple[list[float], list[float], list[int]]:
    """Return the mean and the longest waits and the workers of the same burst, for some seeds."""
    faster, policy = bursts.FASTER, bursts.BURST[burst["settings"]]
    chance = random.Random(bursts.SEED)
    runs = [
        SimulatedRun(
            faster * (bursts.SETTLE_S + number),
            [("tools", faster * bursts.SHORT_WORK_S * chance.uniform(0.5, 1.5))],
        )
        for number in range(25)
    ]
    plan = PoolPlan(
        scaling="demand",
        slots=policy.slots,
        min_workers=policy.minimum,
        max_workers=policy.maximum,
        measured_starts_s=tuple(
            faster * bursts.COLD_START_S + start for start in burst["starts_s"]
        ),
        poll_s=faster * policy.poll_s,
        counts_age_s=faster * 5.0,
        reports_age_s=faster * bursts.HEARTBEAT_S,
        utilization=policy.utilization,
        tolerance=bursts.TOLERANCE,
        sync_s=faster * bursts.HPA_SYNC_S,
        max_added=policy.maximum,
        removal_s=0.0,
        drain_s=faster * bursts.SHORT_DRAIN_S,
        spares_busy=False,
    )
    routes: Routes = {"generate": (), "tools": (SimulatedLeg("pool"),)}
    outcomes = [simulate(runs, {"pool": plan}, routes, seed=seed) for seed in range(SEEDS)]
    return (
        [fmean(outcome.step_waits) for outcome in outcomes],
        [max(outcome.step_waits) for outcome in outcomes],
        [outcome.usage["pool"].most_workers for outcome in outcomes],
    )


@pytest.mark.parametrize("burst", MEASURED, ids=[f"{row['mean_wait_s']:g} s" for row in MEASURED])
def test_the_mean_wait_of_a_burst_is_within_15_percent_of_the_measured_one(
    burst: dict[str, Any],
) -> None:
    means, _, workers = simulated_waits(burst)
    assert fmean(means) == pytest.approx(burst["mean_wait_s"], rel=WITHIN)
    assert set(workers) == {burst["most_workers"]}


def test_the_longest_waits_are_within_15_percent_of_the_measured_ones_together() -> None:
    longest = [fmean(simulated_waits(burst)[1]) for burst in MEASURED]
    measured = [burst["longest_wait_s"] for burst in MEASURED]
    assert sum(longest) == pytest.approx(sum(measured), rel=WITHIN)

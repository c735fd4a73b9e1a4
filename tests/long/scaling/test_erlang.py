"""M/M/c in the planner's simulation: the probability of waiting, and the mean wait, within 2 %."""

import random
from statistics import fmean

import pytest

from tests.workers.plan.test_simulation import (
    erlang_c,
    exponential,
    fixed,
    on_one_pool,
    poisson,
    single_steps,
)


@pytest.mark.parametrize(("servers", "utilization"), [(2, 0.5), (5, 0.6)])
def test_waits_are_those_of_erlang_c(servers: int, utilization: float) -> None:
    waiting, waits = [], []
    for seed in range(3):
        count, chance = 120_000, random.Random(seed)
        arrivals = poisson(count, servers * utilization, chance)
        outcome = on_one_pool(
            single_steps(arrivals, exponential(count, 1.0, chance)), fixed(servers)
        )
        waiting.append(fmean(wait > 1e-9 for wait in outcome.step_waits))
        waits.append(fmean(outcome.step_waits))
    expected = erlang_c(servers, servers * utilization)
    print(f"Erlang C {expected:.4f}, simulated {fmean(waiting):.4f}")
    assert fmean(waiting) == pytest.approx(expected, rel=0.02)
    assert fmean(waits) == pytest.approx(expected / (servers * (1 - utilization)), rel=0.02)

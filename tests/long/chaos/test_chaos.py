"""The chaos suite: every run ends, nothing is lost, doubled or left undone, whatever fails meanwhile.

`RUNS=1000 SEED=7 make test-chaos` runs a longer storm. The same seed gives the same runs and faults.
"""

import os
from pathlib import Path

import pytest

from tests.long.chaos.mix import plan_runs
from tests.long.chaos.monkey import plan_faults
from tests.long.chaos.storm import CALM_S, blow

RUNS = int(os.environ.get("RUNS", "200"))
"""A storm over 200 runs fits in CI. A release takes 1,000."""

SEED = int(os.environ.get("SEED", "1"))

STORM_S = 30 + 0.6 * RUNS
START_SHARE = 0.75
"""Runs start in the first three quarters of a storm."""


def test_a_seed_gives_the_same_runs_and_the_same_faults() -> None:
    assert plan_runs(7, 50, 40) == plan_runs(7, 50, 40) != plan_runs(8, 50, 40)
    assert plan_faults(7, 60) == plan_faults(7, 60) != plan_faults(8, 60)


@pytest.mark.timeout(2 * (STORM_S + CALM_S) + 120)
async def test_no_run_is_lost_hung_doubled_or_left_undone_in_a_storm(tmp_path: Path) -> None:
    runs = plan_runs(SEED, RUNS, START_SHARE * STORM_S)
    report = await blow(tmp_path, runs, plan_faults(SEED, STORM_S), seed=SEED)
    print(f"\nSEED={SEED} RUNS={RUNS}, a storm of {STORM_S:.0f} s, logs in {tmp_path}\n")
    for table in report.tables():
        print(table)
    for one in report.violations:
        print(f"{one.kind}: {one.where}: {one.detail}")
    assert not report.violations

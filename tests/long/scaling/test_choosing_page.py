"""docs/choosing.md and its claims are what the planner finds today: `make choosing` writes them."""

from typing import Any

import pytest
from outlast_workers.plan.choosing_page import CLAIMS_PAGE, PAGE, claims, positions, updated
from outlast_workers.plan.claims.claims import findings
from outlast_workers.plan.planning import plan
from outlast_workers.plan.price_list import shipped_prices
from outlast_workers.plan.simulation import Outcome, simulate
from outlast_workers.plan.workload import preset

from tests.docs.prose import ROOT


@pytest.mark.timeout(300)
def test_the_pages_are_what_the_planner_finds() -> None:
    found = findings(shipped_prices())
    for name, lines in ((PAGE, positions(found)), (CLAIMS_PAGE, claims(found))):
        page = (ROOT / "docs" / name).read_text()
        assert updated(page, lines) == page


@pytest.mark.parametrize("name", ["steady", "bursty"])
def test_a_plan_simulates_no_more_steps_than_ten_seconds_allow(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[int] = []

    def counted(*arguments: Any, **options: Any) -> Outcome:
        outcome = simulate(*arguments, **options)
        steps.append(len(outcome.step_waits))
        return outcome

    monkeypatch.setattr("outlast_workers.plan.estimate.simulate", counted)
    plan(preset(name), shipped_prices())
    print(f"{name}: {sum(steps):,} steps in {len(steps)} simulations")
    # A step takes 6 to 9 microseconds.
    assert sum(steps) < 1_200_000

"""docs/choosing.md has what the planner finds today: `make choosing` writes it."""

import pytest
from outlast_workers.plan.choosing_page import updated
from outlast_workers.plan.claims import findings
from outlast_workers.plan.price_list import shipped_prices

from tests.docs.prose import ROOT


@pytest.mark.timeout(300)
def test_the_page_is_what_the_planner_finds() -> None:
    page = (ROOT / "docs" / "choosing.md").read_text()
    assert updated(page, findings(shipped_prices())) == page

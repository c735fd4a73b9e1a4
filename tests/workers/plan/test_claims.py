"""Verdicts on claims, and the pages that have them. `tests/long/scaling` runs all claims."""

from typing import get_args

import pytest
from outlast_workers.plan.choosing_page import BEGIN, END, claims, positions, updated
from outlast_workers.plan.claims.cold_claims import cold_start, pod_eviction
from outlast_workers.plan.claims.gpu_claims import gpu_prices
from outlast_workers.plan.claims.team_claims import compliance
from outlast_workers.plan.claims.verdicts import Case, Finding, Verdict, judge
from outlast_workers.plan.price_list import shipped_prices
from outlast_workers.plan.workload import ArchitectureName, Workload
from pydantic import BaseModel

from tests.docs.prose import ROOT

PAGE = (ROOT / "docs" / "choosing.md").read_text()
CLAIMS = (ROOT / "docs" / "choosing-claims.md").read_text()

PUBLISHED = 10
"""Rows of the tables that the claims come from; two of them make several positions."""


def case(load: int, model: str, best: ArchitectureName) -> Case:
    return Case({"load": f"{load}", "model": model}, best, dict.fromkeys(NAMES, 1.0))


NAMES: tuple[ArchitectureName, ...] = ("serverless", "managed", "kubernetes", "hybrid")


def test_a_claim_that_holds_everywhere_is_confirmed() -> None:
    found = judge("x", "hybrid", [case(1, "own", "hybrid"), case(2, "API", "hybrid")])
    assert (found.verdict, found.position) == ("confirmed", "confirmed")


def test_a_claim_that_holds_nowhere_is_contradicted_with_what_wins() -> None:
    found = judge("x", "hybrid", [case(1, "own", "managed"), case(2, "API", "managed")])
    assert found.verdict == "contradicted"
    assert "managed in 2" in found.decides


def test_the_variable_that_separates_the_cases_decides() -> None:
    cases = [
        case(1, "own", "hybrid"),
        case(2, "own", "hybrid"),
        case(1, "API", "managed"),
        case(2, "API", "managed"),
    ]
    found = judge("x", "hybrid", cases)
    assert found.position == "depends on"
    assert found.decides.startswith("model: hybrid is cheapest in 2 of 4 cases (own: 100 %")


def rows_of(text: str) -> list[list[str]]:
    """Return the cells of a table without its head."""
    rows = (line for line in text.splitlines() if line.startswith("| ") and "---" not in line)
    return [row.strip("| ").split(" | ") for row in rows][1:]


def test_both_pages_take_the_same_position_on_every_published_claim() -> None:
    short = rows_of(PAGE.partition(BEGIN)[2].partition(END)[0].partition("## Published claims")[2])
    full = rows_of(CLAIMS.partition(BEGIN)[2].partition("## The runs")[0])
    assert short == [row[:2] for row in full]
    assert len(short) >= PUBLISHED
    assert {position for _, position in short} <= {
        verdict.replace("depends", "depends on") for verdict in get_args(Verdict)
    }


@pytest.mark.parametrize(
    "finding",
    [cold_start(), pod_eviction(), gpu_prices(shipped_prices()), compliance(shipped_prices())],
    ids=lambda finding: finding.claim,
)
def test_the_page_has_the_rows_that_the_quick_claims_give_today(finding: Finding) -> None:
    assert f"| {finding.claim} | {finding.position} | {finding.decides} |" in CLAIMS
    for row in finding.evidence:
        assert f"| {' | '.join(row)} |" in CLAIMS


def test_new_findings_replace_the_old_ones_and_nothing_else() -> None:
    page = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    found = [Finding("a claim", "confirmed", "why", (("head",), ("row",)))]
    new = updated(page, claims(found))
    assert new.startswith(f"before\n{BEGIN}\n")
    assert new.endswith(f"\n{END}\nafter\n")
    assert "old" not in new
    assert "| a claim | confirmed | why |" in new
    assert "| a claim | confirmed |\n" in updated(page, positions(found))


def test_the_page_names_every_field_of_a_workload() -> None:
    def names(model: type[BaseModel]) -> set[str]:
        found = set(model.model_fields)
        for field in model.model_fields.values():
            if isinstance(field.default, BaseModel):
                found |= names(type(field.default))
        return found

    assert not {name for name in names(Workload) if name not in PAGE}

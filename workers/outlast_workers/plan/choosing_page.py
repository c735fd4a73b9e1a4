"""The generated part of docs/choosing.md: `make choosing` writes it."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from outlast_workers.plan.claims import findings
from outlast_workers.plan.price_list import shipped_prices
from outlast_workers.plan.team_claims import PROFILES
from outlast_workers.plan.verdicts import Finding

BEGIN, END = "<!-- claims:begin -->", "<!-- claims:end -->"


def updated(page: str, found: Sequence[Finding]) -> str:
    """Return the page with the findings between its two marks."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return "\n".join([before + BEGIN, "", *_generated(found), END]) + after


def _generated(found: Sequence[Finding]) -> Iterator[str]:
    yield "## Published claims"
    yield ""
    yield "Each position comes from runs of this planner, with the prices of the price files and seed 1."
    yield ""
    yield from _rows(
        [
            ("claim", "position", "what decides"),
            *((one.claim, one.position, one.decides) for one in found),
        ]
    )
    yield "## A guide by team"
    yield ""
    yield from _rows(_guide(found))
    yield "## The runs behind the positions"
    yield ""
    for one in found:
        yield f"### {one.claim}"
        yield ""
        yield from _rows(one.evidence)


def _guide(found: Sequence[Finding]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [("team", "claimed", "cheapest in our runs")]
    by_claim = {one.claim: one for one in found}
    for profile in PROFILES:
        if profile.claim not in by_claim:
            continue
        head, *cases = by_claim[profile.claim].evidence
        column = head.index("cheapest")
        groups: dict[str, list[str]] = {}
        for case in cases:
            groups.setdefault(case[column], []).append(_conditions(head, case, column))
        best = ". ".join(f"{name}: {'; '.join(group)}" for name, group in groups.items())
        if len(groups) == 1:
            best = f"{cases[0][column]} in all {len(cases)} cases"
        team, _, claimed = profile.claim.partition(": ")
        rows.append((team, claimed, best))
    return rows


def _conditions(head: Sequence[str], case: Sequence[str], column: int) -> str:
    return ", ".join(f"{case[index]} {head[index]}" for index in range(column))


def _rows(table: Sequence[Sequence[str]]) -> Iterator[str]:
    head, *rows = table
    yield f"| {' | '.join(head)} |"
    yield f"|{' --- |' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"
    yield ""


def main() -> None:
    """Write the findings into a page."""
    path = Path(sys.argv[1])
    page = path.read_text(encoding="utf-8")
    path.write_text(updated(page, findings(shipped_prices())), encoding="utf-8")


if __name__ == "__main__":
    main()

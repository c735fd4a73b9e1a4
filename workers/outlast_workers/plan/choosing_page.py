"""The generated parts of docs/choosing.md and docs/choosing-claims.md: `make choosing` writes them."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from outlast_workers.plan.claims.claims import findings
from outlast_workers.plan.claims.team_claims import PROFILES
from outlast_workers.plan.claims.verdicts import Finding
from outlast_workers.plan.price_list import shipped_prices

BEGIN, END = "<!-- claims:begin -->", "<!-- claims:end -->"

PAGE, CLAIMS_PAGE = "choosing.md", "choosing-claims.md"


def updated(page: str, lines: Iterable[str]) -> str:
    """Return a page with other lines between its two marks."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return "\n".join([before + BEGIN, "", *lines, END]) + after


def positions(found: Sequence[Finding]) -> Iterator[str]:
    """Return what docs/choosing.md says about the claims: a guide by team, and the positions."""
    yield "## A guide by team"
    yield ""
    yield from _rows(_guide(found))
    yield "## Published claims"
    yield ""
    yield f"[The claims in full]({CLAIMS_PAGE}) has the reason for each position, and the runs behind it."
    yield ""
    yield from _rows([("claim", "position"), *((one.claim, one.position) for one in found)])


def claims(found: Sequence[Finding]) -> Iterator[str]:
    """Return what docs/choosing-claims.md says: the reason for each position, and the runs behind it."""
    yield "## Positions"
    yield ""
    yield from _rows(
        [
            ("claim", "position", "what decides"),
            *((one.claim, one.position, one.decides) for one in found),
        ]
    )
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
    """Write the findings into the pages of a folder."""
    found = findings(shipped_prices())
    for name, lines in ((PAGE, positions(found)), (CLAIMS_PAGE, claims(found))):
        path = Path(sys.argv[1]) / name
        path.write_text(updated(path.read_text(encoding="utf-8"), lines), encoding="utf-8")


if __name__ == "__main__":
    main()

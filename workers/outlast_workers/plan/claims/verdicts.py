"""Verdicts on a claim from many plans: confirmed, contradicted, or which variable it depends on."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Literal

from outlast_workers.plan.estimate import ROUGH, Estimate, Simulated, priced, simulated_all
from outlast_workers.plan.planning import cheapest
from outlast_workers.plan.price_list import PriceList
from outlast_workers.plan.workload import ARCHITECTURES, ArchitectureName, Workload

Verdict = Literal["confirmed", "contradicted", "depends"]


@dataclass(frozen=True)
class Finding:
    """A claim with the position that the planner's own runs support."""

    claim: str
    verdict: Verdict
    decides: str
    """The deciding variable, as a sentence."""
    evidence: tuple[tuple[str, ...], ...] = ()
    """A table: its head, then its rows."""

    @property
    def position(self) -> str:
        """Return the verdict in words."""
        return {"depends": "depends on"}.get(self.verdict, self.verdict)


@dataclass(frozen=True)
class Case:
    """One combination of the variables, and the cheapest architecture there."""

    variables: Mapping[str, str]
    best: ArchitectureName
    costs: Mapping[ArchitectureName, float] = field(default_factory=dict)


def cases(
    workload: Workload,
    prices: PriceList,
    *,
    loads: Sequence[float],
    hours: Sequence[float],
) -> list[Case]:
    """Return the cheapest architecture for all loads, both kinds of model, hours, and costs of people."""
    found = []
    for load, kind in product(loads, ("gpu", "api")):
        model = workload.model.model_copy(update={"kind": kind})
        changed = workload.model_copy(update={"concurrent_runs": load, "model": model})
        results = simulated_all(changed, ROUGH)
        for active, people in product(hours, ("counted", "not counted")):
            found.append(case_of(changed, results, prices, active=active, people=people))
    return found


def case_of(
    workload: Workload,
    results: Mapping[ArchitectureName, Simulated],
    prices: PriceList,
    *,
    active: float,
    people: str = "counted",
) -> Case:
    """Return the case of simulated architectures, priced for some active hours a day."""
    team = workload.team
    if people == "not counted":
        team = team.model_copy(update={"usd_per_hour": 0.0})
    changed = workload.model_copy(update={"active_hours_per_day": active, "team": team})
    estimates: dict[ArchitectureName, Estimate] = {
        name: priced(result, changed, prices) for name, result in results.items()
    }
    variables = {
        "runs at a time": f"{workload.concurrent_runs:g}",
        "where the model runs": "own GPUs" if workload.model.kind == "gpu" else "API",
        "active hours a day": f"{active:g}",
        "people's time": people,
    }
    costs: dict[ArchitectureName, float] = {}
    for name, one in estimates.items():
        costs[name] = one.cost.total
    return Case(variables, cheapest(estimates).architecture.name, costs)


def judge(claim: str, expected: ArchitectureName, found: Sequence[Case]) -> Finding:
    """Return the finding on a claim that one architecture is cheapest in all cases."""
    holds = [case.best == expected for case in found]
    wins = Counter(case.best for case in found)
    others = ", ".join(
        f"{name} in {count}" for name, count in wins.most_common() if name != expected
    )
    evidence = _table(found)
    if all(holds):
        text = f"{expected} is cheapest in all {len(found)} cases"
        return Finding(claim, "confirmed", text, evidence)
    if not any(holds):
        text = f"{expected} is cheapest in none of {len(found)} cases; {others}"
        return Finding(claim, "contradicted", text, evidence)
    variable, values = _deciding(found, expected)
    text = f"{variable}: {expected} is cheapest in {sum(holds)} of {len(found)} cases ({values}); {others}"
    return Finding(claim, "depends", text, evidence)


def _deciding(found: Sequence[Case], expected: ArchitectureName) -> tuple[str, str]:
    """Return the variable whose values differ most in how often the expected one is cheapest."""
    shares: dict[str, dict[str, float]] = {}
    for variable in found[0].variables:
        groups: dict[str, list[bool]] = {}
        for case in found:
            groups.setdefault(case.variables[variable], []).append(case.best == expected)
        shares[variable] = {value: sum(group) / len(group) for value, group in groups.items()}
    best = max(shares, key=lambda name: max(shares[name].values()) - min(shares[name].values()))
    values = ", ".join(f"{value}: {share:.0%}" for value, share in shares[best].items())
    return best, values.replace("%", " %")


def _table(found: Iterable[Case]) -> tuple[tuple[str, ...], ...]:
    rows = list(found)
    varying = [name for name in rows[0].variables if len({row.variables[name] for row in rows}) > 1]
    head = (*varying, "cheapest", *(f"{name}, USD a month" for name in ARCHITECTURES))
    return (
        head,
        *(
            (
                *(row.variables[name] for name in varying),
                row.best,
                *(f"{row.costs[name]:,.0f}" for name in ARCHITECTURES),
            )
            for row in rows
        ),
    )

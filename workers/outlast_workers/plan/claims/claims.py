"""Published claims about architectures of agents, each with a position from the planner's own runs."""

from collections.abc import Callable

from outlast_workers.plan.break_even import Known, break_evens, costs_of
from outlast_workers.plan.claims.cold_claims import autoscaling_lag, cold_start, pod_eviction
from outlast_workers.plan.claims.gpu_claims import gpu_prices, h200_speed
from outlast_workers.plan.claims.team_claims import compliance, team_findings
from outlast_workers.plan.claims.verdicts import Finding, cases, judge
from outlast_workers.plan.price_list import PriceList
from outlast_workers.plan.workload import preset

LOWEST_CLAIMED_USD, HIGHEST_CLAIMED_USD = 5_000, 10_000


def few_and_spiky(prices: PriceList) -> list[Finding]:
    """Return the finding on the claim about few, spiky runs."""
    found = cases(preset("spiky"), prices, loads=(1, 3, 10), hours=(4, 24))
    return [judge("1 to 10 concurrent runs, spiky: serverless is cheapest", "serverless", found)]


def some_and_mixed(prices: PriceList) -> list[Finding]:
    """Return the finding on the claim about mixed loads."""
    found = cases(preset("mixed"), prices, loads=(10, 30, 50), hours=(12, 24))
    return [judge("10 to 50 concurrent runs, mixed: managed is cheapest", "managed", found)]


def many_and_steady(prices: PriceList) -> list[Finding]:
    """Return the finding on the claim about steady loads."""
    found = cases(preset("steady"), prices, loads=(50, 100, 200), hours=(24,))
    return [
        judge("50 concurrent runs and more, steady: Kubernetes is cheapest", "kubernetes", found)
    ]


def many_and_bursty(prices: PriceList) -> list[Finding]:
    """Return the finding on the claim about bursty loads."""
    found = cases(preset("bursty"), prices, loads=(50, 100, 200), hours=(12, 24))
    return [judge("50 concurrent runs and more, bursty: hybrid is cheapest", "hybrid", found)]


def break_even(prices: PriceList) -> list[Finding]:
    """Return the finding on the bill from which Kubernetes wins at a steady load."""
    claim = "Kubernetes wins from about 5,000 to 10,000 USD a month at a steady load"
    rows: list[tuple[str, ...]] = [
        (
            "where the model runs",
            "people's time, USD an hour",
            "against",
            "runs at a time",
            "USD a month",
        )
    ]
    bills: list[float] = []
    for kind in ("gpu", "api"):
        known: Known = {}
        for people in (100.0, 50.0):
            workload = preset("steady")
            team = workload.team.model_copy(update={"usd_per_hour": people})
            model = workload.model.model_copy(update={"kind": kind})
            changed = workload.model_copy(update={"team": team, "model": model})
            points = break_evens("kubernetes", changed, costs_of(changed, prices, known))
            for other in ("serverless", "managed"):
                won = [p for p in points if p.cheaper == "kubernetes" and p.dearer == other]
                shown = ("never", "-")
                if won:
                    bills.append(won[-1].usd_per_month)
                    shown = (f"{won[-1].concurrent_runs:.0f}", f"{won[-1].usd_per_month:,.0f}")
                where = "own GPUs" if kind == "gpu" else "API"
                rows.append((where, f"{people:g}", other, *shown))
    within = [LOWEST_CLAIMED_USD <= usd <= HIGHEST_CLAIMED_USD for usd in bills]
    text = (
        f"where the model runs, and what people cost: from {min(bills):,.0f} to {max(bills):,.0f} USD a"
        f" month; {sum(within)} of {len(within)} break-even points are within the claim. The bill of an"
        " API's tokens is the same everywhere and says nothing about the architecture"
    )
    if all(within):
        return [Finding(claim, "confirmed", text, tuple(rows))]
    return [Finding(claim, "depends" if any(within) else "contradicted", text, tuple(rows))]


CLAIMS: tuple[Callable[[PriceList], list[Finding]], ...] = (
    few_and_spiky,
    some_and_mixed,
    many_and_steady,
    many_and_bursty,
    break_even,
    lambda _: [autoscaling_lag()],
    lambda _: [cold_start()],
    lambda _: [pod_eviction()],
    lambda prices: [gpu_prices(prices), h200_speed(prices)],
    lambda prices: [*team_findings(prices), compliance(prices)],
)


def findings(prices: PriceList) -> list[Finding]:
    """Return the findings on all claims, in the order in which they were published."""
    return [finding for claim in CLAIMS for finding in claim(prices)]

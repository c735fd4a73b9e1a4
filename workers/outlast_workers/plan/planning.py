"""The plan for a workload: every architecture, the cheapest, break-even points, and what decides."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from outlast_workers.plan.break_even import BreakEven, break_evens, costs_of, loads_of
from outlast_workers.plan.estimate import FULL, Estimate, priced, simulated_all
from outlast_workers.plan.price_list import PriceList, shipped_prices
from outlast_workers.plan.sensitivity import Swing, swings
from outlast_workers.plan.workload import ARCHITECTURES, ArchitectureName, Workload


@dataclass(frozen=True)
class Plan:
    """What a workload costs on each architecture, and which to use."""

    workload: Workload
    prices: PriceList
    estimates: Mapping[ArchitectureName, Estimate]
    break_evens: tuple[BreakEven, ...]
    swings: tuple[Swing, ...]
    curves: Mapping[ArchitectureName, Sequence[tuple[float, float]]]
    """What a month costs by the runs at a time, on a shorter simulation."""

    @property
    def cheapest(self) -> Estimate:
        """Return the cheapest architecture whose runs start in time; of all, if none does."""
        return cheapest(self.estimates)


def cheapest(estimates: Mapping[ArchitectureName, Estimate]) -> Estimate:
    """Return the cheapest estimate among those whose runs start in time; among all, if none does."""
    return min(estimates.values(), key=lambda one: (not one.starts_in_time, one.cost.total))


def prices_for(workload: Workload, today: date) -> PriceList:
    """Return the shipped prices with those of the workload; raises `NotReady` for an unknown name."""
    return shipped_prices().changed(workload.prices, day=today)


def plan(workload: Workload, prices: PriceList) -> Plan:
    """Plan a workload. Equal workloads and prices give equal plans."""
    results = simulated_all(workload, FULL)
    estimates: dict[ArchitectureName, Estimate] = {}
    for name, result in results.items():
        estimates[name] = priced(result, workload, prices)
    best = cheapest(estimates).architecture.name
    cost = costs_of(workload, prices)
    points = break_evens(best, workload, cost)
    loads = loads_of(workload)
    return Plan(
        workload=workload,
        prices=prices,
        estimates=estimates,
        break_evens=tuple(points),
        swings=tuple(swings(workload, prices, results)),
        curves={name: [(load, cost(name, load)) for load in loads] for name in ARCHITECTURES},
    )


def plan_json(made: Plan) -> dict[str, Any]:
    """Return a plan as JSON. Equal plans give equal JSON."""
    return {
        "workload": made.workload.model_dump(mode="json"),
        "runs_per_month": round(made.workload.runs_per_month),
        "cheapest": made.cheapest.architecture.name,
        "architectures": {name: _estimate_json(one) for name, one in made.estimates.items()},
        "break_evens": [
            {
                "concurrent_runs": _rounded(point.concurrent_runs),
                "usd_per_month": round(point.usd_per_month),
                "cheaper": point.cheaper,
                "dearer": point.dearer,
            }
            for point in made.break_evens
        ],
        "usd_by_concurrent_runs": {
            name: [[_rounded(load), round(usd)] for load, usd in curve]
            for name, curve in made.curves.items()
        },
        "decides": [
            {
                "input": swing.input,
                "decides": swing.decides,
                "halved": {"cheapest": swing.low_cheapest, "usd_per_month": round(swing.low_usd)},
                "doubled": {
                    "cheapest": swing.high_cheapest,
                    "usd_per_month": round(swing.high_usd),
                },
            }
            for swing in made.swings
        ],
        "prices": {
            name: made.prices.prices[name].model_dump(mode="json", exclude_defaults=True)
            for name in sorted(made.prices.used)
        },
    }


def _estimate_json(one: Estimate) -> dict[str, Any]:
    return {
        "summary": one.architecture.summary,
        "temporal": one.architecture.temporal,
        "usd_per_month": {
            "total": round(one.cost.total),
            "compute": round(one.cost.compute),
            "temporal": round(one.cost.temporal),
            "tokens": round(one.cost.tokens),
            "people": round(one.cost.people),
        },
        "usd_per_run": _rounded(one.usd_per_run),
        "actions_per_run": round(one.actions_per_run, 1),
        "start_s": {"p50": round(one.start_p50_s, 1), "p95": round(one.start_p95_s, 1)},
        "completion_s": {
            "p50": round(one.completion_p50_s, 1),
            "p95": round(one.completion_p95_s, 1),
        },
        "starts_in_time": one.starts_in_time,
        "unfinished_runs": one.unfinished,
        "measured_runs": one.measured_runs,
        "pools": {
            name: {
                "queue": one.architecture.pools[name].queue,
                "slots": one.architecture.pools[name].plan.slots,
                "min_workers": one.architecture.pools[name].plan.min_workers,
                "most_workers": use.most_workers,
                "mean_machines": round(use.mean_machines, 2),
                "share_busy": round(use.share_busy, 3),
                "share_of_steps": round(use.share_of_steps, 3),
            }
            for name, use in one.pools.items()
        },
    }


def _rounded(value: float) -> float:
    """Return a value with three significant digits."""
    return float(f"{value:.3g}")

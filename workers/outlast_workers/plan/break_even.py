"""Loads at which another architecture becomes cheaper, found by bisection."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise

from outlast_workers.plan.arguments import MAX_CONCURRENT_RUNS
from outlast_workers.plan.estimate import ROUGH, Simulated, priced, simulated
from outlast_workers.plan.price_list import PriceList
from outlast_workers.plan.workload import (
    ARCHITECTURES,
    ArchitectureName,
    Workload,
)

FACTORS = (1 / 16, 1 / 4, 1.0, 4.0)
"""Multiples of the workload's load between which break-even points are searched."""

BISECTIONS = 3
"""Each halves the interval on a logarithmic scale: a point is known to about 10 %."""

RESOLUTION = 1.2
"""Two points whose loads have a smaller ratio are one: the costs touch there, and none becomes cheaper."""

Costs = Callable[[ArchitectureName, float], float]

Known = dict[tuple[ArchitectureName, float], Simulated]


@dataclass(frozen=True)
class BreakEven:
    """From these concurrent runs on, `cheaper` costs less than `dearer`."""

    concurrent_runs: float
    usd_per_month: float
    cheaper: ArchitectureName
    dearer: ArchitectureName


def costs_of(workload: Workload, prices: PriceList, known: Known | None = None) -> Costs:
    """Return the cost of an architecture by its load; each is simulated once.

    Workloads that differ in team, hours or prices can share what is `known`.
    """
    results: Known = {} if known is None else known

    def cost(name: ArchitectureName, concurrent_runs: float) -> float:
        load = workload.model_copy(update={"concurrent_runs": concurrent_runs})
        key = (name, concurrent_runs)
        if key not in results:
            results[key] = simulated(name, load, effort=ROUGH)
        return priced(results[key], load, prices).cost.total

    return cost


def loads_of(workload: Workload) -> list[float]:
    """Return the loads between which break-even points are searched."""
    loads = {min(workload.concurrent_runs * factor, MAX_CONCURRENT_RUNS) for factor in FACTORS}
    return sorted(loads)


def break_evens(
    chosen: ArchitectureName,
    workload: Workload,
    cost: Costs,
    others: Iterable[ArchitectureName] = ARCHITECTURES,
) -> list[BreakEven]:
    """Return where the chosen architecture and each other one cost the same, by rising load."""
    found: list[BreakEven] = []
    for other in others:
        if other != chosen:
            found += _crossings(chosen, other, loads_of(workload), cost)
    return sorted(found, key=lambda point: point.concurrent_runs)


def _crossings(
    chosen: ArchitectureName, other: ArchitectureName, loads: list[float], cost: Costs
) -> list[BreakEven]:
    """Return where two architectures cost the same, without the loads at which their costs only touch."""
    points: list[BreakEven] = []
    for low, high in pairwise(loads):
        if (cost(chosen, low) < cost(other, low)) == (cost(chosen, high) < cost(other, high)):
            continue
        point = _point(chosen, other, low, high, cost)
        # Crossings of two curves alternate, so two neighbours have opposite directions.
        if points and point.concurrent_runs < points[-1].concurrent_runs * RESOLUTION:
            points.pop()
        else:
            points.append(point)
    return points


def _point(
    chosen: ArchitectureName, other: ArchitectureName, low: float, high: float, cost: Costs
) -> BreakEven:
    chosen_first = cost(chosen, low) < cost(other, low)
    for _ in range(BISECTIONS):
        middle = math.sqrt(low * high)
        if (cost(chosen, middle) < cost(other, middle)) == chosen_first:
            low = middle
        else:
            high = middle
    load = math.sqrt(low * high)
    cheaper, dearer = (other, chosen) if chosen_first else (chosen, other)
    usd = math.sqrt(cost(cheaper, low) * cost(cheaper, high))
    return BreakEven(load, usd, cheaper, dearer)

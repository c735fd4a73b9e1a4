"""What decides: each input is halved and doubled, and all architectures are compared again."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from outlast_workers.plan.estimate import ROUGH, Simulated, priced, simulated_all
from outlast_workers.plan.price_list import PriceList
from outlast_workers.plan.workload import DAY_H, ArchitectureName, Workload

LOW, HIGH = 0.5, 2.0

Change = Callable[[Workload, float], Workload]


@dataclass(frozen=True)
class Swing:
    """What changes if one input is halved, and if it is doubled."""

    input: str
    low_usd: float
    """The cheapest month with half the input."""
    high_usd: float
    low_cheapest: ArchitectureName
    high_cheapest: ArchitectureName
    decides: bool
    """Whether another architecture is cheapest in one of the two."""

    @property
    def usd(self) -> float:
        """Return by how much the cost of the month changes between the two."""
        return abs(self.high_usd - self.low_usd)


def _nested(table: str, field: str) -> Change:
    def change(workload: Workload, factor: float) -> Workload:
        section = getattr(workload, table)
        changed = section.model_copy(update={field: getattr(section, field) * factor})
        return workload.model_copy(update={table: changed})

    return change


def _step_time(field: str) -> Change:
    """Change the time of a step. As many runs as before arrive, so more or fewer are in progress."""

    def change(workload: Workload, factor: float) -> Workload:
        changed = workload.model_copy(update={field: getattr(workload, field) * factor})
        load = workload.runs_per_s * changed.run_s
        return changed.model_copy(update={"concurrent_runs": load})

    return change


def _active_hours(workload: Workload, factor: float) -> Workload:
    hours = min(DAY_H, workload.active_hours_per_day * factor)
    return workload.model_copy(update={"active_hours_per_day": hours})


def _spikes(workload: Workload, factor: float) -> Workload:
    arrivals = workload.arrivals
    larger = max(1.0, arrivals.spike_factor * factor)
    changed = arrivals.model_copy(update={"spike_factor": larger, "cv2": arrivals.cv2 * factor})
    return workload.model_copy(update={"arrivals": changed})


SIMULATED: Mapping[str, Change] = {
    "spikes (cv2 and spike_factor)": _spikes,
    "model_s": _step_time("model_s"),
    "tool_s": _step_time("tool_s"),
    "model.cold_start_s": _nested("model", "cold_start_s"),
}

PRICED: Mapping[str, Change] = {
    "active_hours_per_day": _active_hours,
    "people (team.usd_per_hour)": _nested("team", "usd_per_hour"),
}

PRICES: Mapping[str, tuple[str, ...]] = {
    "price of serverless GPUs": ("serverless.{gpu}",),
    "price of GPU nodes": ("node.{gpu}",),
    "price of Temporal Cloud": ("temporal.action", "temporal.action.tiers", "temporal.business"),
}


def swings(
    workload: Workload, prices: PriceList, baseline: Mapping[ArchitectureName, Simulated]
) -> list[Swing]:
    """Return what each input changes: those that decide first, then by USD."""
    names = [name for name in SIMULATED if "cold" not in name or workload.model.kind == "gpu"]
    found = [_swing(name, workload, SIMULATED[name], prices, None) for name in names]
    found += [_swing(name, workload, PRICED[name], prices, baseline) for name in PRICED]
    for name, keys in PRICES.items():
        if "GPU" not in name or workload.model.kind == "gpu":
            found.append(_price_swing(name, keys, workload, prices, baseline))
    return sorted(found, key=lambda swing: (not swing.decides, -swing.usd, swing.input))


def _swing(
    name: str,
    workload: Workload,
    change: Change,
    prices: PriceList,
    baseline: Mapping[ArchitectureName, Simulated] | None,
) -> Swing:
    low, high = (_cheapest(change(workload, factor), prices, baseline) for factor in (LOW, HIGH))
    return _compared(name, low, high)


def _price_swing(
    name: str,
    keys: tuple[str, ...],
    workload: Workload,
    prices: PriceList,
    baseline: Mapping[ArchitectureName, Simulated],
) -> Swing:
    def scaled(factor: float) -> PriceList:
        changed = prices
        for key in keys:
            changed = changed.scaled(key.format(gpu=workload.model.gpu), factor)
        return changed

    low, high = (_cheapest(workload, scaled(factor), baseline) for factor in (LOW, HIGH))
    return _compared(name, low, high)


Cheapest = tuple[ArchitectureName, float]


def _compared(name: str, low: Cheapest, high: Cheapest) -> Swing:
    return Swing(name, low[1], high[1], low[0], high[0], decides=low[0] != high[0])


def _cheapest(
    workload: Workload,
    prices: PriceList,
    baseline: Mapping[ArchitectureName, Simulated] | None,
) -> Cheapest:
    results = baseline or simulated_all(workload, ROUGH)
    best: tuple[bool, float, ArchitectureName] | None = None
    for name, result in results.items():
        one = (
            not result.meets(workload),
            priced(result, workload, prices).cost.total,
            name,
        )
        best = one if best is None else min(best, one)
    assert best is not None  # noqa: S101 there are four architectures
    return best[2], best[1]

"""What a month costs: machines, Temporal, tokens and people."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from outlast_workers.plan.architectures import Architecture
from outlast_workers.plan.price_list import HOURS_A_MONTH, PriceList
from outlast_workers.plan.workload import DAY_H, Workload


@dataclass(frozen=True)
class Cost:
    """What a month costs, in USD."""

    compute: float
    temporal: float
    tokens: float
    people: float

    @property
    def total(self) -> float:
        """Return the sum."""
        return self.compute + self.temporal + self.tokens + self.people


@dataclass(frozen=True)
class PoolUse:
    """What a pool was like in the simulation."""

    mean_machines: float
    most_workers: int
    share_of_steps: float
    share_busy: float
    """Of the slots of the machines that were paid for."""
    starts_per_hour: float


def compute_usd(
    chosen: Architecture, pools: Mapping[str, PoolUse], active_hours: float, prices: PriceList
) -> float:
    """Return the price of the machines. Outside of the active hours, the warm minimum runs."""
    fixed = sum(amount * prices.hourly(name) for name, amount in chosen.fixed.items())
    usd = fixed * HOURS_A_MONTH
    for name, pool in chosen.pools.items():
        use = pools[name]
        hourly = sum(amount * prices.hourly(price) for price, amount in pool.bill.items())
        least = math.ceil(pool.plan.min_workers / pool.per_machine)
        machine_hours = use.mean_machines * active_hours + least * (HOURS_A_MONTH - active_hours)
        per_start = sum(amount * prices.usd(price) for price, amount in pool.bill_start.items())
        usd += hourly * machine_hours + per_start * use.starts_per_hour * active_hours / 1e6
    return usd


def temporal_usd(
    chosen: Architecture, workload: Workload, actions_per_run: float, prices: PriceList
) -> float:
    """Return the price of Temporal: the machines of a self-hosted one, or the cheaper plan of the Cloud."""
    if chosen.temporal == "self-hosted":
        # Three nodes for the services, and a database.
        hourly = 3 * prices.hourly("aws.m7g.large") + prices.hourly("aws.postgres")
        return hourly * HOURS_A_MONTH
    actions = actions_per_run * workload.runs_per_month
    run_gb = workload.kilobytes_per_turn * workload.turns / 1e6
    active_share = workload.active_hours_per_day / DAY_H
    active_gbh = workload.concurrent_runs * active_share * run_gb / 2 * HOURS_A_MONTH
    retained_gbh = workload.runs_per_month * run_gb * workload.retention_days * DAY_H
    storage = active_gbh * prices.usd("temporal.active_storage") + retained_gbh * prices.usd(
        "temporal.retained_storage"
    )
    developer = 1.1 * (actions / 1e6 * prices.usd("temporal.action") + storage)
    # The Business plan includes 2.5 million actions, and some storage.
    used = _tiered(max(0.0, actions - 2.5e6), prices) + storage
    business = used + max(prices.usd("temporal.business"), 0.1 * used)
    return min(developer, business)


def _tiered(actions: float, prices: PriceList) -> float:
    usd, begin = 0.0, 0.0
    tiers = prices["temporal.action.tiers"].tiers
    for number, (end, per_million) in enumerate(tiers):
        upper = math.inf if number == len(tiers) - 1 else end * 1e6
        usd += max(0.0, min(actions, upper) - begin) / 1e6 * per_million
        begin = upper
    return usd


def tokens_usd(workload: Workload) -> float:
    """Return what a model behind an API bills."""
    if workload.model.kind == "gpu":
        return 0.0
    model = workload.model
    call = (
        workload.prompt_tokens * model.prompt_usd
        + workload.completion_tokens * model.completion_usd
    ) / 1e6
    return call * workload.turns * workload.runs_per_month


def people_usd(chosen: Architecture, workload: Workload) -> float:
    """Return the price of the team's hours, which is an input."""
    team = workload.team
    hours = team.hours_per_month[chosen.name]
    if chosen.temporal == "self-hosted":
        hours += team.self_hosted_temporal_hours
    return hours * team.usd_per_hour

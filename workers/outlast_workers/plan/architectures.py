"""The four architectures: their pools, routes and bills, for a workload."""

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

from outlast.contracts.names import AGENTS_QUEUE
from outlast_workers.plan.pools import PoolPlan
from outlast_workers.plan.simulation import Role, SimulatedLeg
from outlast_workers.plan.workload import ArchitectureName, Workload

FILE = Path(__file__).parent / "architectures.toml"

Platform = Literal["serverless", "managed", "kubernetes"]

WARM_SHARES = (0.0, 0.25, 0.5, 1.0, 1.5, 2.0)
"""Warm minimums that a plan tries in turn, as a share of the workers that the mean load needs."""


@dataclass(frozen=True)
class PricedPool:
    """A pool with its task queue and what its machines cost."""

    plan: PoolPlan
    queue: str
    roles: tuple[Role, ...]
    platform: Platform
    per_machine: int
    bill: Mapping[str, float]
    """Amounts of hourly prices, for one machine."""
    bill_start: Mapping[str, float]
    """Amounts of prices per million, for one start of a worker."""


@dataclass(frozen=True)
class Architecture:
    """Pools by name, the routes over them, and what runs besides."""

    name: ArchitectureName
    summary: str
    temporal: Literal["cloud", "self-hosted"]
    pools: Mapping[str, PricedPool]
    routes: Mapping[Role, tuple[SimulatedLeg, ...]]
    fixed: Mapping[str, float]
    warm_share: float = 0.0


@cache
def _tables() -> dict[str, Any]:
    return tomllib.loads(FILE.read_text(encoding="utf-8"))


def architecture(
    name: ArchitectureName, workload: Workload, *, warm_share: float = 0.0, part: float = 1.0
) -> Architecture:
    """Return an architecture whose warm minimum is at least a share of what the mean load needs.

    To simulate a part of the load, each worker has that part of its slots.
    """
    table = _tables()[name]
    temporal = table["temporal"] if workload.temporal == "usual" else workload.temporal
    if name == "hybrid":
        pools, routes = _spilling(workload, warm_share, table["spills"])
    else:
        pools, routes = _plain(name, workload, warm_share)
    if part < 1:
        pools = {
            kind: replace(pool, plan=_smaller(pool.plan, part)) for kind, pool in pools.items()
        }
    return Architecture(
        name, table["summary"], temporal, pools, routes, table.get("fixed", {}), warm_share
    )


def _smaller(plan: PoolPlan, part: float) -> PoolPlan:
    slots = max(1, round(plan.slots * part))
    return replace(plan, slots=slots, batch_slowdown=plan.batch_slowdown * plan.slots / slots)


def _plain(
    name: Platform, workload: Workload, warm_share: float
) -> tuple[dict[str, PricedPool], dict[Role, tuple[SimulatedLeg, ...]]]:
    pools = _pools(name, workload, warm_share)
    generate = "gpu" if "gpu" in pools else "cpu"
    return pools, {"generate": (SimulatedLeg(generate),), "tools": (SimulatedLeg("cpu"),)}


def _spilling(
    workload: Workload, warm_share: float, waits: Mapping[str, float]
) -> tuple[dict[str, PricedPool], dict[Role, tuple[SimulatedLeg, ...]]]:
    near = _pools("kubernetes", workload, warm_share)
    far = _pools("serverless", workload, 0.0)
    pools: dict[str, PricedPool] = {}
    for kind, pool in near.items():
        most = max(mean_workers(workload, pool.plan, kind), pool.plan.min_workers, 1)
        pools[kind] = replace(pool, plan=replace(pool.plan, max_workers=most))
        spare = replace(far[kind].plan, initial_workers=0)
        queue = f"{pool.queue.removesuffix('-gpu')}-serverless"
        pools[f"{kind}-serverless"] = replace(far[kind], plan=spare, queue=queue)
    generate = "gpu" if "gpu" in near else "cpu"
    return pools, {
        "generate": _legs(generate, waits["generate"]),
        "tools": _legs("cpu", waits["tools"]),
    }


def _legs(kind: str, start_within_s: float) -> tuple[SimulatedLeg, ...]:
    return (SimulatedLeg(kind, start_within_s), SimulatedLeg(f"{kind}-serverless"))


def _pools(platform: Platform, workload: Workload, warm_share: float) -> dict[str, PricedPool]:
    table = _tables()[platform]
    kinds = ("cpu", "gpu") if workload.model.kind == "gpu" else ("cpu",)
    return {kind: _pool(platform, table[kind], kind, workload, warm_share) for kind in kinds}


def _pool(
    platform: Platform, table: Mapping[str, Any], kind: str, workload: Workload, warm_share: float
) -> PricedPool:
    gpus = _tables()["gpus_in_a_machine"][workload.model.gpu]
    plan = PoolPlan(**table["plan"])
    if kind == "gpu":
        model = workload.model
        plan = replace(
            plan,
            slots=model.slots,
            batch_slowdown=model.batch_slowdown,
            cold_start_s=plan.cold_start_s + model.cold_start_s,
        )
    if table.get("warms"):
        warm = math.ceil(warm_share * mean_workers(workload, plan, kind))
        plan = replace(plan, min_workers=max(plan.min_workers, warm))
    if plan.scaling != "invoke":
        plan = replace(plan, initial_workers=mean_workers(workload, plan, kind))
    bill = {
        price.replace("GPU", workload.model.gpu): gpus if amount == "GPUS" else amount
        for price, amount in table["bill"].items()
    }
    per_machine = table.get("per_machine", 1)
    return PricedPool(
        plan=plan,
        queue=table["queue"] if workload.model.kind == "gpu" else AGENTS_QUEUE,
        roles=_roles(kind, workload),
        platform=platform,
        per_machine=gpus if per_machine == "GPUS" else per_machine,
        bill=bill,
        bill_start=table.get("bill_start", {}),
    )


def _roles(kind: str, workload: Workload) -> tuple[Role, ...]:
    if workload.model.kind == "api":
        return ("generate", "tools")
    return ("generate",) if kind == "gpu" else ("tools",)


def mean_workers(workload: Workload, plan: PoolPlan, kind: str) -> int:
    """Return the workers that the mean load keeps busy at the utilization that scaling aims at."""
    per_run_s = (workload.turns - 1) * workload.tool_s
    if kind == "gpu" or workload.model.kind == "api":
        calls_s = workload.turns * workload.call_s
        # With as many calls beside each other as the utilization says.
        beside = plan.batch_slowdown * (plan.slots * plan.utilization - 1)
        calls_s *= 1 + max(0.0, beside)
        per_run_s = calls_s if kind == "gpu" else per_run_s + calls_s
    busy = workload.runs_per_s * per_run_s
    return math.ceil(busy / (plan.slots * plan.utilization))

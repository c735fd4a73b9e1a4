"""The settings that an architecture of a plan needs: routes, worker counts, KEDA or idle exits.

TOML files are settings of our processes (docs/workers.md). `values.json` is for our Helm chart: helm reads
JSON too. It lacks what only you know, such as image, agents, address of Temporal, and the model of vLLM.
"""

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from outlast_workers.plan.architectures import PricedPool
from outlast_workers.plan.estimate import Estimate
from outlast_workers.plan.simulation import Role

HEADROOM = 1.5
"""The largest number of workers, as a multiple of what the simulation needed."""

LAST_LEG_WITHIN_S = 900
"""The bound of a last leg: a cold container reads its weights first, as in deploy/routes."""


def settings(one: Estimate) -> dict[str, str]:
    """Return the files of an architecture by their names."""
    files = {"routes.toml": _toml_routes(routes(one))}
    for name, pool in one.architecture.pools.items():
        if pool.platform != "kubernetes":
            files[f"worker-{name}.toml"] = "\n".join(_worker(pool)) + "\n"
    if any(pool.platform == "kubernetes" for pool in one.architecture.pools.values()):
        files["values.json"] = json.dumps(chart_values(one), indent=2) + "\n"
    return files


def routes(one: Estimate) -> dict[Role, list[dict[str, Any]]]:
    """Return the legs of model calls and of tools, as settings have them."""
    pools = one.architecture.pools
    found: dict[Role, list[dict[str, Any]]] = {}
    for role, legs in one.architecture.routes.items():
        found[role] = [
            {
                "task_queue": pools[leg.pool].queue,
                "start_within_s": leg.start_within_s or LAST_LEG_WITHIN_S,
            }
            for leg in legs
        ]
    return found


def _toml_routes(found: Mapping[Role, list[dict[str, Any]]]) -> str:
    tables = [
        f"[[routes.{role}.legs]]\n"
        f'task_queue = "{leg["task_queue"]}"\nstart_within_s = {leg["start_within_s"]:g}\n'
        for role, legs in found.items()
        for leg in legs
    ]
    return "# For the role workflows.\n\n" + "\n".join(tables)


def _worker(pool: PricedPool) -> Iterator[str]:
    plan = pool.plan
    yield f"# The workers of the queue {pool.queue}."
    yield f"roles = {json.dumps(pool.roles)}"
    if plan.idle_exit_s is not None:
        yield f"idle_exit_s = {plan.idle_exit_s:g}"
    if plan.max_life_s is not None:
        yield f"max_life_s = {plan.max_life_s:g}"
    yield ""
    yield "[queues]"
    yield from (f'{role} = "{pool.queue}"' for role in pool.roles)
    yield ""
    yield "[concurrency]"
    yield from (f"{role} = {plan.slots}" for role in pool.roles)


def chart_values(one: Estimate) -> dict[str, Any]:
    """Return values for our Helm chart."""
    pools = one.architecture.pools
    workers: dict[str, Any] = {}
    far = [pool.queue for pool in pools.values() if pool.platform != "kubernetes"]
    for name, pool in pools.items():
        if pool.platform != "kubernetes":
            continue
        for role in pool.roles:
            workers[role] = _chart_worker(role, pool, one.pools[name].most_workers)
    plan = next(pool.plan for pool in pools.values() if pool.platform == "kubernetes")
    return {
        "settings": {"routes": {role: {"legs": legs} for role, legs in routes(one).items()}},
        "externalQueues": sorted(set(far)),
        "workers": workers,
        "demand": {"enabled": True, "tokenSecret": "outlast-demand", "deletionCost": True},
        "scaling": {
            "trigger": "metrics-api",
            "pollingIntervalS": int(plan.poll_s),
            "targetUtilization": plan.utilization,
            "cooldownS": int(plan.cooldown_s),
            "stabilizationS": int(plan.stabilization_s),
            "scaleUpPods": plan.max_added,
            "scaleDownPeriodS": int(plan.removal_s),
        },
    }


def _chart_worker(role: Role, pool: PricedPool, most: int) -> dict[str, Any]:
    plan = pool.plan
    capped = plan.max_workers < 1_000
    largest = plan.max_workers if capped else math.ceil(most * HEADROOM)
    values: dict[str, Any] = {
        "queue": pool.queue,
        "slots": plan.slots,
        "scale": {"min": plan.min_workers, "max": max(largest, plan.min_workers, 1)},
    }
    if role == "generate" and len(pool.roles) == 1:
        values["modelServer"] = "sidecar"
    return values

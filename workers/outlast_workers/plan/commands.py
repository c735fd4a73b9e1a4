"""`outlast worker plan`: read the workload, plan it, print the plan."""

import argparse
import json
import sys
from datetime import UTC, datetime
from typing import Any

from outlast_workers.plan.planning import plan, plan_json, prices_for
from outlast_workers.plan.price_list import stale
from outlast_workers.plan.report import report
from outlast_workers.plan.workload import Workload, read_workload


async def show_plan(options: argparse.Namespace) -> int:
    """Print the plan of a workload, and return the exit status."""
    workload = planned_workload(options)
    today = datetime.now(UTC).date()
    made = plan(workload, prices_for(workload, today))
    for warning in stale(made.prices, today):
        print(f"warning: {warning}", file=sys.stderr)  # noqa: T201 a command-line program
    text = json.dumps(plan_json(made), indent=2) if options.json else report(made)
    print(text)  # noqa: T201
    return 0


def planned_workload(options: argparse.Namespace) -> Workload:
    """Return the workload of a command line; raises `NotReady` if it is invalid."""
    workload = read_workload(options.workload)
    changes: dict[str, Any] = {}
    if options.concurrency is not None:
        changes["concurrent_runs"] = options.concurrency
    if options.seed is not None:
        changes["seed"] = options.seed
    if options.model is not None:
        changes["model"] = workload.model.model_copy(update={"kind": options.model})
    return workload.model_copy(update=changes)

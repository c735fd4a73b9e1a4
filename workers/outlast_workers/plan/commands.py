"""`outlast worker plan`: read the workload, plan it, print the plan."""

import argparse
import json
import sys
from dataclasses import asdict
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from outlast_workers.plan.picture import picture
from outlast_workers.plan.planning import Plan, plan, plan_json, prices_for
from outlast_workers.plan.price_list import PriceList, shipped_prices, stale
from outlast_workers.plan.report import report
from outlast_workers.plan.settings_files import settings
from outlast_workers.plan.workload import Workload, read_workload


async def show_plan(options: argparse.Namespace) -> int:
    """Print the plan of a workload, and return the exit status."""
    if options.what == "claims":
        return _show_claims(as_json=options.json)
    workload = planned_workload(options)
    today = datetime.now(UTC).date()
    made = plan(workload, prices_for(workload, today))
    _warn(made.prices, today)
    text = json.dumps(plan_json(made), indent=2) if options.json else report(made)
    print(text)  # noqa: T201
    if options.write is not None:
        for path in write_plan(made, options.write):
            print(f"wrote {path}", file=sys.stderr)  # noqa: T201
    return 0


def _show_claims(*, as_json: bool) -> int:
    from outlast_workers.plan.claims.claims import findings  # noqa: PLC0415 it imports what no plan needs

    prices = shipped_prices()
    found = findings(prices)
    _warn(prices, datetime.now(UTC).date())
    if as_json:
        print(json.dumps([asdict(one) for one in found], indent=2))  # noqa: T201
        return 0
    for one in found:
        print(f"{one.claim}\n  {one.position}: {one.decides}.\n")  # noqa: T201
    return 0


def _warn(prices: PriceList, today: date) -> None:
    warning = stale(prices, today)
    if warning is not None:
        print(f"warning: {warning}", file=sys.stderr)  # noqa: T201 a command-line program


def write_plan(made: Plan, folder: Path) -> list[Path]:
    """Write a plan with its picture and its settings, and return the files."""
    files = {"plan.json": json.dumps(plan_json(made), indent=2) + "\n", "plan.svg": picture(made)}
    for one in made.estimates.values():
        files |= {f"{one.architecture.name}/{name}": text for name, text in settings(one).items()}
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return [folder / name for name in files]


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

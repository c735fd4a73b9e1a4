"""The settings that a plan writes are valid for our processes and for our chart."""

import json
import tomllib
from datetime import date
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from jsonschema import Draft7Validator
from outlast_workers.plan.commands import write_plan
from outlast_workers.plan.estimate import ROUGH, Estimate, priced, simulated
from outlast_workers.plan.planning import Plan, prices_for
from outlast_workers.plan.price_list import shipped_prices
from outlast_workers.plan.settings_files import chart_values, settings
from outlast_workers.plan.workload import ARCHITECTURES, ArchitectureName, Model, preset
from outlast_workers.settings import Settings

ROOT = Path(__file__).parents[3]
SCHEMA = json.loads((ROOT / "deploy/kubernetes/chart/values.schema.json").read_text())
LOAD = preset("spiky").model_copy(update={"concurrent_runs": 3.0, "turns": 4})


def estimated(name: ArchitectureName, kind: str) -> Estimate:
    model = Model.model_validate({"kind": kind})
    load = LOAD.model_copy(update={"model": model})
    return priced(simulated(name, load, effort=ROUGH), load, shipped_prices())


CASES = [(name, kind) for name in ARCHITECTURES for kind in ("gpu", "api")]


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_the_settings_are_valid(name: ArchitectureName, kind: str) -> None:
    one = estimated(name, kind)
    files = settings(one)
    queues = {pool.queue for pool in one.architecture.pools.values()}
    read = {file: Settings(**tomllib.loads(files[file])) for file in files if "toml" in file}
    legs = [
        leg.task_queue
        for route in (read["routes.toml"].routes.generate, read["routes.toml"].routes.tools)
        if route is not None
        for leg in route.legs
    ]
    assert set(legs) == queues
    for file, worker in read.items():
        if file.startswith("worker-"):
            pool = one.architecture.pools[file.removeprefix("worker-").removesuffix(".toml")]
            assert worker.idle_exit_s == pool.plan.idle_exit_s
            assert {worker.queue(role) for role in worker.roles} == {pool.queue}


@pytest.mark.parametrize("kind", ["gpu", "api"])
@pytest.mark.parametrize("name", ["kubernetes", "hybrid"])
def test_the_values_are_valid_for_the_chart(name: ArchitectureName, kind: str) -> None:
    one = estimated(name, kind)
    values: Any = chart_values(one)
    needed = {"image": {"tag": "v1"}, "agents": ["desk"], "temporal": {"address": "t:7233"}}
    errors = list(Draft7Validator(SCHEMA).iter_errors(with_defaults(values | needed)))
    assert not errors, [error.message for error in errors]
    far = {pool.queue for pool in one.architecture.pools.values() if pool.platform == "serverless"}
    assert set(values["externalQueues"]) == far
    assert {worker["queue"] for worker in values["workers"].values()} == {
        pool.queue for pool in one.architecture.pools.values() if pool.platform == "kubernetes"
    }


def with_defaults(values: dict[str, Any]) -> dict[str, Any]:
    """Return values as Helm merges them into the defaults of the chart."""
    yaml = pytest.importorskip("yaml")
    defaults = yaml.safe_load((ROOT / "deploy/kubernetes/chart/values.yaml").read_text())
    return merged(defaults, values)


def merged(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    result = dict(old)
    for key, value in new.items():
        both = isinstance(value, dict) and isinstance(old.get(key), dict)
        result[key] = merged(old[key], value) if both else value
    return result


def test_a_plan_is_written_with_its_picture(tmp_path: Path) -> None:
    prices = prices_for(LOAD, date(2026, 11, 27))
    estimates = {name: estimated(name, "gpu") for name in ARCHITECTURES}
    curves = {name: [(1.0, 400.0), (16.0, 4_000.0)] for name in ARCHITECTURES}
    made = Plan(LOAD, prices, estimates, (), (), curves)
    written = {str(path.relative_to(tmp_path)) for path in write_plan(made, tmp_path)}
    assert {"plan.json", "plan.svg", "hybrid/values.json", "serverless/routes.toml"} <= written
    lines = ElementTree.fromstring((tmp_path / "plan.svg").read_text())  # noqa: S314 our own
    assert len(lines.findall("{http://www.w3.org/2000/svg}polyline")) == len(ARCHITECTURES)
    assert json.loads((tmp_path / "plan.json").read_text())["cheapest"] in ARCHITECTURES

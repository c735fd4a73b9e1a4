"""Modal: the app as Modal's own package reads it."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

import pytest
from outlast_workers.serverless import modal_dispatch, modal_lease
from outlast_workers.settings import load_settings

from tests.deploy.graces import EXIT_S, GRACE_S
from tests.deploy.readmes import blocks
from tests.deploy.settings import loaded
from tests.deploy.tools import ROOT, run_python

FOLDER = ROOT / "deploy" / "modal"
BUILD_ID = "2026-11-24"

SNIPPET = """
import json, sys, warnings
import modal, modal.exception
warnings.filterwarnings("error", category=modal.exception.DeprecationError)
sys.path.insert(0, sys.argv[1])
seen, mounted = {}, {}
def recording(kind):
    original = getattr(modal.App, kind)
    def recorded(self, **options):
        decorate = original(self, **options)
        def named(it):
            mounted[getattr(it, "__name__", "?")] = options.get("volumes", {})
            seen[getattr(it, "__name__", "?")] = {
                key: value if isinstance(value, (int, float, str)) else repr(value)
                for key, value in options.items()
            }
            return decorate(it)
        return named
    setattr(modal.App, kind, recorded)
recording("function")
recording("cls")
import app
print(json.dumps({
    "functions": seen, "cpu": app.CPU_SETTINGS, "gpu": app.GPU_SETTINGS, "life": app.LIFE_S,
    "startup": app.GPU_STARTUP_S, "vllm": app.VLLM, "dispatch": app.DISPATCH_S,
    "writers": [name for name, volumes in mounted.items() if app.weights in volumes.values()],
    "fleets": {fleet.function: {
        "max_workers": fleet.max_workers, "slots": {queue.name: queue.slots for queue in fleet.queues},
    } for fleet in (app.CPU, app.GPU)},
}))
"""


ENVIRONMENT = {"TEMPORAL_WORKER_BUILD_ID": BUILD_ID, "PYTHONPATH": str(ROOT / "workers")}
"""Modal's package is installed without outlast, whose modules for Modal need nothing else."""


@pytest.fixture(scope="module")
def app() -> dict[str, Any]:
    done = run_python("modal", SNIPPET, FOLDER, env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr
    described: dict[str, Any] = json.loads(done.stdout)
    return described


def test_modal_accepts_the_app_without_deprecations(app: dict[str, Any]) -> None:
    assert set(app["functions"]) == {"worker", "GpuWorker", "fetch_weights", "dispatcher"}


def test_the_readme_exports_what_its_commands_read() -> None:
    exports = [
        line
        for line in "\n".join(blocks(FOLDER / "README.md")).splitlines()
        if line.strip().startswith("export ")
    ]
    done = subprocess.run(
        ["/bin/sh", "-euc", "\n".join([*exports, "env"])],
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=True,
    )
    exported = {line.partition("=")[0] for line in done.stdout.splitlines()}
    source = (FOLDER / "app.py").read_text()
    assert set(re.findall(r'os\.environ\["(\w+)"\]', source)) <= exported


def test_a_deprecated_parameter_is_rejected(tmp_path: Path) -> None:
    text = (FOLDER / "app.py").read_text().replace("min_containers=0", "keep_warm=0")
    (tmp_path / "app.py").write_text(text)
    done = run_python("modal", SNIPPET, tmp_path, env=ENVIRONMENT)
    assert done.returncode != 0
    assert "keep_warm" in done.stderr


def test_every_function_is_bounded_and_never_retried_by_modal(app: dict[str, Any]) -> None:
    for options in app["functions"].values():
        assert options["retries"] == 0
        assert 0 < options["timeout"] <= 24 * 3600
        assert options["max_containers"] > 0
    for name in ("worker", "GpuWorker"):
        assert app["functions"][name]["timeout"] > app["life"]
    assert app["functions"]["worker"]["max_containers"] == app["fleets"]["worker"]["max_workers"]
    assert (
        app["functions"]["GpuWorker"]["max_containers"] == app["fleets"]["GpuWorker"]["max_workers"]
    )
    assert app["functions"]["GpuWorker"]["startup_timeout"] == app["startup"]


def test_a_run_of_the_dispatcher_ends_before_the_next_one_starts(app: dict[str, Any]) -> None:
    assert "Period(minutes=1)" in (FOLDER / "app.py").read_text()
    longest_round_s = 3 * modal_dispatch.DEMAND_TIMEOUT_S
    ending_s = modal_dispatch.INTERVAL_S + modal_dispatch.DEMAND_STOP_S
    assert app["dispatch"] + ending_s <= 60
    assert app["dispatch"] + longest_round_s + ending_s <= app["functions"]["dispatcher"]["timeout"]


def test_workers_only_read_the_weights_and_never_download(app: dict[str, Any]) -> None:
    assert app["gpu"]["HF_HUB_OFFLINE"] == "1"
    assert app["gpu"]["HF_HUB_CACHE"].startswith("/weights/")
    assert app["writers"] == ["fetch_weights"]


def test_the_drain_and_its_exit_fit_in_the_grace() -> None:
    assert GRACE_S["Modal"] == modal_lease.GRACE_S
    assert modal_lease.EXIT_S > EXIT_S
    assert modal_lease.DRAIN_S + modal_lease.EXIT_S < modal_lease.GRACE_S


@pytest.mark.parametrize("kind", ["cpu", "gpu"])
def test_the_settings_of_the_workers_are_valid(app: dict[str, Any], kind: str) -> None:
    settings = loaded(app[kind])
    serverless = load_settings(ROOT / "deploy" / "routes" / "serverless.toml")
    assert settings.drain_s == modal_lease.DRAIN_S
    assert settings.versioning.deployment_name == "outlast"
    assert settings.versioning.build_id == BUILD_ID
    fleet = app["fleets"]["worker" if kind == "cpu" else "GpuWorker"]
    slots = {settings.queue(role): getattr(settings.concurrency, role) for role in settings.roles}
    assert slots == fleet["slots"]
    role: Literal["tools", "generate"] = "tools" if kind == "cpu" else "generate"
    assert settings.queue(role) in {leg.task_queue for leg in serverless.route(role).legs}


def test_the_cpu_worker_sends_steps_to_queues_that_the_workers_poll(app: dict[str, Any]) -> None:
    cpu, gpu = loaded(app["cpu"]), loaded(app["gpu"])
    assert [leg.task_queue for leg in cpu.route("generate").legs] == [gpu.queue("generate")]
    assert [leg.task_queue for leg in cpu.route("tools").legs] == [cpu.queue("tools")]


def test_vllms_python_imports_the_modules_that_modal_adds_to_its_image(tmp_path: Path) -> None:
    package = tmp_path / "outlast_workers" / "serverless"
    package.mkdir(parents=True)
    for module in (modal_dispatch, modal_lease):
        shutil.copy(str(module.__file__), package)
    imports = f"import {modal_dispatch.__name__}, {modal_lease.__name__}"
    subprocess.run(
        [
            sys.executable,
            "-I",
            "-S",
            "-c",
            f"import sys; sys.path.append({str(tmp_path)!r}); {imports}",
        ],
        check=True,
    )


@pytest.mark.parametrize("kind", ["cpu", "gpu"])
def test_modals_own_folder_is_not_hidden(app: dict[str, Any], kind: str) -> None:
    assert app[kind]["PYTHONPATH"].split(":") == ["/root", "/app"]


def test_vllm_takes_as_many_requests_as_its_worker_has_slots(app: dict[str, Any]) -> None:
    assert app["vllm"][-2:] == [
        "--max-num-seqs",
        str(app["fleets"]["GpuWorker"]["slots"]["generate-serverless"]),
    ]

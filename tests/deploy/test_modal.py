"""Modal: the app as Modal's own package reads it, the dispatcher's rules, and a worker's lease."""

import asyncio
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from types import ModuleType
from typing import Any, Literal

import pytest
from outlast_workers.local.servers import TemporalServer, free_port
from outlast_workers.settings import load_settings

from bench.scripted_model_server import ScriptedModelServer, Step, Steps
from outlast import Client
from tests.deploy.graces import EXIT_S, GRACE_S
from tests.deploy.readmes import blocks, commands
from tests.deploy.settings import loaded
from tests.deploy.tools import ROOT, run_python

FOLDER = ROOT / "deploy" / "modal"
BUILD_ID = "2026-11-24"

SNIPPET = """
import json, sys, warnings
import modal, modal.exception
warnings.filterwarnings("error", category=modal.exception.DeprecationError)
sys.path.insert(0, sys.argv[1])
seen = {}
def recording(kind):
    original = getattr(modal.App, kind)
    def recorded(self, **options):
        decorate = original(self, **options)
        def named(it):
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
    "startup": app.GPU_STARTUP_S, "vllm": app.VLLM,
}))
"""


def module(name: str) -> ModuleType:
    """Import a script of the folder, which is no package."""
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    sys.modules[name] = found
    spec.loader.exec_module(found)
    return found


dispatch, lease = module("dispatch"), module("lease")


@pytest.fixture(scope="module")
def app() -> dict[str, Any]:
    done = run_python("modal", SNIPPET, FOLDER, env={"TEMPORAL_WORKER_BUILD_ID": BUILD_ID})
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def test_the_app_is_taken_by_modal_without_deprecations(app: dict[str, Any]) -> None:
    assert set(app["functions"]) == {"worker", "GpuWorker", "safety_net"}


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
    sources = "".join((FOLDER / f"{name}.py").read_text() for name in ("app", "dispatch"))
    assert set(re.findall(r'os\.environ\["(\w+)"\]', sources)) <= exported
    (demand,) = commands(FOLDER / "README.md", "docker run")
    passed = {demand[at + 1] for at, word in enumerate(demand) if word == "--env"}
    assert {name for name in passed if "=" not in name} <= exported


def test_a_deprecated_parameter_would_be_refused(tmp_path: Path) -> None:
    for script in FOLDER.glob("*.py"):
        text = script.read_text().replace("min_containers=0", "keep_warm=0")
        (tmp_path / script.name).write_text(text)
    done = run_python("modal", SNIPPET, tmp_path, env={"TEMPORAL_WORKER_BUILD_ID": BUILD_ID})
    assert done.returncode != 0
    assert "keep_warm" in done.stderr


def test_every_function_is_bounded_and_never_retried_by_modal(app: dict[str, Any]) -> None:
    for options in app["functions"].values():
        assert options["retries"] == 0
        assert 0 < options["timeout"] <= 24 * 3600
        assert options["max_containers"] > 0
    for name in ("worker", "GpuWorker"):
        assert app["functions"][name]["timeout"] > app["life"]
    assert app["functions"]["worker"]["max_containers"] == dispatch.CPU.at_most
    assert app["functions"]["GpuWorker"]["max_containers"] == dispatch.GPU.at_most
    assert app["functions"]["GpuWorker"]["startup_timeout"] == app["startup"]


def test_the_drain_and_its_exit_fit_in_the_grace() -> None:
    assert GRACE_S["Modal"] == lease.GRACE_S
    assert lease.LEAVE_S > EXIT_S
    assert lease.DRAIN_S + lease.LEAVE_S < lease.GRACE_S


@pytest.mark.parametrize("kind", ["cpu", "gpu"])
def test_the_settings_of_the_workers_are_settings_of_ours(app: dict[str, Any], kind: str) -> None:
    settings = loaded(app[kind])
    serverless = load_settings(ROOT / "deploy" / "routes" / "serverless.toml")
    assert settings.drain_s == lease.DRAIN_S
    assert settings.versioning.deployment_name == "outlast"
    assert settings.versioning.build_id == BUILD_ID
    fleet = dispatch.CPU if kind == "cpu" else dispatch.GPU
    slots = {settings.queue(role): getattr(settings.concurrency, role) for role in settings.roles}
    assert slots == {queue.name: queue.slots for queue in fleet.queues}
    role: Literal["tools", "generate"] = "tools" if kind == "cpu" else "generate"
    assert settings.queue(role) in {leg.task_queue for leg in serverless.route(role).legs}


def test_the_cpu_worker_sends_steps_to_queues_that_the_workers_poll(app: dict[str, Any]) -> None:
    cpu, gpu = loaded(app["cpu"]), loaded(app["gpu"])
    assert [leg.task_queue for leg in cpu.route("generate").legs] == [gpu.queue("generate")]
    assert [leg.task_queue for leg in cpu.route("tools").legs] == [cpu.queue("tools")]


@pytest.mark.parametrize("kind", ["cpu", "gpu"])
def test_modals_own_folder_is_not_hidden(app: dict[str, Any], kind: str) -> None:
    assert app[kind]["PYTHONPATH"].split(":") == ["/root", "/app"]


def test_vllm_takes_as_many_requests_as_its_worker_has_slots(app: dict[str, Any]) -> None:
    assert app["vllm"][-2:] == ["--max-num-seqs", str(dispatch.GENERATE.slots)]


def wants(count: int, *, stale: bool = False) -> Any:
    return dispatch.Demand(count, stale)


def there(running: int = 0, waiting: int = 0, spawned: int = 0) -> Any:
    return dispatch.Fleeted(running, waiting, spawned)


@pytest.mark.parametrize(
    ("demands", "found", "spawns"),
    [
        ([wants(0)], there(), 0),
        ([wants(3)], there(), 3),
        ([wants(3)], there(running=1), 2),
        ([wants(3)], there(waiting=3), 0),  # cold starts are counted
        ([wants(3)], there(running=1, waiting=1), 1),
        ([wants(1)], there(running=5), 0),  # nothing is ended: a worker ends when it is idle
        ([wants(2), wants(4)], there(running=1), 3),  # each polls all queues of its fleet
        ([wants(50)], there(running=4), 6),  # ten at most
        ([wants(50)], there(running=12), 0),
        ([wants(3, stale=True)], there(), 0),
        ([wants(3, stale=True), wants(2)], there(), 2),
        ([wants(3)], there(spawned=3), 0),  # spawned in the last round, not counted yet
        ([wants(5)], there(running=2, waiting=1, spawned=3), 2),
        ([], there(), 0),
    ],
)
def test_as_many_are_spawned_as_are_wanted_and_not_there(
    demands: list[Any], found: Any, spawns: int
) -> None:
    assert dispatch.decide(demands, found, at_most=10) == spawns


def test_what_was_spawned_is_expected_until_modal_must_have_counted_it() -> None:
    expected = dispatch.Expected()
    assert expected.at(0) == 0
    expected.note(3, 0)
    expected.note(5, 10)
    assert expected.at(14) == 5
    assert expected.at(10 + dispatch.SETTLE_S) == 0


class FakeModal:
    """Modal, as far as the dispatcher asks it: counts a spawned input from its `lag`-th look on."""

    def __init__(self, lag: int = 0) -> None:
        self.spawned = self.counted = 0
        self.lag = lag
        self._looks = 0

    def stats(self) -> Any:
        self._looks += 1
        if self._looks > self.lag:
            self.counted = self.spawned
        return there(waiting=self.counted)

    def spawn(self) -> None:
        self.spawned += 1


class DemandEndpoint(BaseHTTPRequestHandler):
    paths: list[str]

    def do_GET(self) -> None:
        self.paths.append(self.path)
        body = json.dumps({"desired_workers": 3, "is_stale": False, "demand": 24}).encode()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def demand_url() -> Iterator[str]:
    DemandEndpoint.paths = []
    with HTTPServer(("127.0.0.1", 0), DemandEndpoint) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize("lag", [0, 1, 3])
def test_rounds_come_to_rest_and_a_restarted_dispatcher_spawns_nothing(
    demand_url: str, lag: int
) -> None:
    fake = FakeModal(lag)
    modal = dispatch.Modal(fake.stats, fake.spawn)

    def rounds(count: int) -> None:
        expected = dispatch.Expected()
        for _ in range(count):
            dispatch.dispatch(
                dispatch.CPU, modal, expected, demand_url=demand_url, build_id=BUILD_ID
            )

    rounds(4)
    rounds(2)
    assert fake.spawned == 3
    for queue, slots in (("agents", 100), ("tools-serverless", 10)):
        wanted = f"/demand/{queue}?deployment=outlast&build_id={BUILD_ID}&slots={slots}"
        assert wanted in DemandEndpoint.paths


HOLDING = """
import os, sys
sys.path.insert(0, sys.argv[1])
import lease
try:
    status = lease.hold([sys.executable, "-m", "outlast_workers", "run"], seconds=float(sys.argv[2]))
except KeyboardInterrupt:
    status = 130
sys.exit(status)
"""


POLLING_S = 20.0


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("ending", "call_s"),
    # The one that waits for the deadline is long enough to be in flight then, however slow the machine is.
    [("interrupted", 8), ("at its deadline", POLLING_S - 2)],
)
async def test_a_model_call_in_flight_ends_though_the_worker_is_(
    ending: str, call_s: float, tmp_path: Path
) -> None:
    script = Steps(Step('{"answer":"done"}', delay_s=call_s))
    given = lease.DRAIN_S + lease.LEAVE_S + POLLING_S
    seconds = 3600.0 if ending == "interrupted" else given
    log = tmp_path / "worker.log"
    async with (
        TemporalServer(log_dir=tmp_path, port=free_port()) as temporal,
        ScriptedModelServer(script) as model,
    ):
        with log.open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-c", HOLDING, str(FOLDER), str(seconds)),
                env={
                    **os.environ,
                    "TEMPORAL_ADDRESS": temporal.address,
                    "OUTLAST_MODEL__URL": model.url,
                    "OUTLAST_AGENTS": "tests.acceptance.agents",
                    "OUTLAST_DRAIN_S": f"{lease.DRAIN_S:g}",
                    "OUTLAST_LOG_FORMAT": "json",
                },
                cwd=ROOT,
                stdout=output,
                stderr=output,
            )
        client = await Client.connect(target_host=temporal.address)
        run = await client.start("reader", "go")
        async with asyncio.timeout(30):
            while script.taken == 0:
                await asyncio.sleep(0.05)
        if ending == "interrupted":
            process.send_signal(signal.SIGINT)
        told = time.monotonic()
        status = await asyncio.wait_for(process.wait(), given + 10)
        assert time.monotonic() - told < (lease.GRACE_S if ending == "interrupted" else given)
        assert status == (130 if ending == "interrupted" else 0)
        assert script.taken == 1
        history = await client.temporal.get_workflow_handle(run.id).fetch_history()
        completed = [
            e for e in history.events if e.HasField("activity_task_completed_event_attributes")
        ]
        assert (
            len(completed) == 2
        )  # the agent was looked up, and the call that was in flight has ended
    assert "worker.stopped" in log.read_text()

"""Modal: the app as Modal's own package reads it, the dispatcher's rules, and the life of a worker."""

import asyncio
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, Literal

import pytest
from outlast_workers.local.ports import free_port
from outlast_workers.local.servers import TemporalServer
from outlast_workers.serverless import modal_dispatch, modal_lease
from outlast_workers.serverless.modal_dispatch import (
    SETTLE_S,
    Demand,
    ExpectedWorkers,
    Fleet,
    FleetOnModal,
    TaskQueue,
    WorkerCount,
    dispatch,
    workers_to_start,
)
from outlast_workers.settings import load_settings

from bench.scripted_model_server import ScriptedModelServer, Step, Steps
from outlast import Client
from tests.deploy.graces import EXIT_S, GRACE_S
from tests.deploy.readmes import blocks, made
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

FLEET = Fleet("worker", (TaskQueue("agents", 100), TaskQueue("tools-serverless", 10)), 20)


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


def wants(count: int, *, stale: bool = False) -> Demand:
    return Demand(count, stale)


def there(running: int = 0, waiting: int = 0, expected: int = 0) -> WorkerCount:
    return WorkerCount(running, waiting, expected)


@pytest.mark.parametrize(
    ("demands", "count", "starts"),
    [
        ([wants(0)], there(), 0),
        ([wants(3)], there(), 3),
        ([wants(3)], there(running=1), 2),
        ([wants(3)], there(waiting=3), 0),  # cold starts are counted
        ([wants(3)], there(running=1, waiting=1), 1),
        ([wants(1)], there(running=5), 0),  # the dispatcher ends no worker
        ([wants(2), wants(4)], there(running=1), 3),  # each worker polls all queues of its fleet
        ([wants(50)], there(running=4), 6),  # the maximum is ten
        ([wants(50)], there(running=12), 0),
        ([wants(3, stale=True)], there(), 0),
        ([wants(3, stale=True), wants(2)], there(), 2),
        ([wants(3)], there(expected=3), 0),  # started in the last round, not counted yet
        ([wants(5)], there(running=2, waiting=1, expected=3), 2),
        ([], there(), 0),
    ],
)
def test_missing_workers_are_started(
    demands: list[Demand], count: WorkerCount, starts: int
) -> None:
    assert workers_to_start(demands, count, max_workers=10) == starts


def test_started_workers_are_expected_until_modal_counts_them() -> None:
    expected = ExpectedWorkers()
    assert expected.at(0) == 0
    expected.record(3, 0)
    expected.record(5, 10)
    assert expected.at(14) == 5
    assert expected.at(10 + SETTLE_S) == 0


class FakeModal:
    """The part of Modal that the dispatcher calls. It counts a spawned input after `lag` rounds."""

    def __init__(self, lag: int = 0) -> None:
        self.spawned = self.counted = 0
        self.lag = lag
        self._rounds = 0

    def count(self) -> WorkerCount:
        self._rounds += 1
        if self._rounds > self.lag:
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
def test_rounds_reach_the_demand_and_a_restarted_dispatcher_starts_nothing(
    demand_url: str, lag: int
) -> None:
    fake = FakeModal(lag)
    on_modal = FleetOnModal(fake.count, fake.spawn)

    def rounds(count: int) -> None:
        expected = ExpectedWorkers()
        for _ in range(count):
            dispatch(FLEET, on_modal, expected, demand_url=demand_url, build_id=BUILD_ID)

    rounds(4)
    rounds(2)
    assert fake.spawned == 3
    for queue, slots in (("agents", 100), ("tools-serverless", 10)):
        path = f"/demand/{queue}?deployment=outlast&build_id={BUILD_ID}&slots={slots}"
        assert path in DemandEndpoint.paths


class EndsAtFirstSpawn(FakeModal):
    """Ends the dispatcher as Modal ends a function, as soon as a worker is started."""

    def spawn(self) -> None:
        super().spawn()
        raise KeyboardInterrupt


async def test_the_dispatcher_starts_a_worker_for_a_run_that_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a real server and a real demand service, which it starts and ends itself."""
    fake, port = EndsAtFirstSpawn(), free_port()
    monkeypatch.setattr(
        modal_dispatch, "find_fleet", lambda *_: FleetOnModal(fake.count, fake.spawn)
    )
    demand = [sys.executable, "-m", "outlast_workers", "demand"]
    async with TemporalServer(
        log_dir=tmp_path, port=free_port(), dynamic_config=("workercontroller.enabled=true",)
    ) as temporal:
        await made(temporal.address, "create", "--name", "outlast")
        version = ("--deployment-name", "outlast", "--build-id", BUILD_ID)
        await made(temporal.address, "set-current-version", *version, "--allow-no-pollers", "--yes")
        client = await Client.connect(target_host=temporal.address)
        await client.start("reader", "go")
        monkeypatch.setenv("TEMPORAL_ADDRESS", temporal.address)
        monkeypatch.setenv("OUTLAST_DEMAND__PORT", str(port))
        monkeypatch.setenv("OUTLAST_DEMAND__GRPC_PORT", str(free_port()))
        with pytest.raises(KeyboardInterrupt):
            modal_dispatch.dispatch_for(
                (Fleet("worker", (TaskQueue("agents", 100),), 20),),
                demand,
                build_id=BUILD_ID,
                life_s=60,
                demand_url=f"http://127.0.0.1:{port}",
            )
    assert fake.spawned == 1
    with pytest.raises(OSError, match="refused"), socket.create_connection(("127.0.0.1", port)):
        pass


def test_a_demand_service_that_ends_fails_the_run_of_the_dispatcher() -> None:
    with pytest.raises(RuntimeError, match=r"did not start \(status 3\)"):
        modal_dispatch.dispatch_for(
            (),
            [sys.executable, "-c", "raise SystemExit(3)"],
            build_id=BUILD_ID,
            life_s=60,
            demand_url=f"http://127.0.0.1:{free_port()}",
        )


RUN_WORKER = """
import sys
from outlast_workers.serverless.modal_lease import run_worker
try:
    status = run_worker([sys.executable, "-m", "outlast_workers", "run"], life_s=float(sys.argv[1]))
except KeyboardInterrupt:
    status = 130
sys.exit(status)
"""


POLLING_S = 20.0


@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    ("ending", "call_s"),
    # The second call is long enough to be in flight at the deadline, even on a slow machine.
    [("interrupted", 8), ("at its deadline", POLLING_S - 2)],
)
async def test_a_model_call_in_flight_completes_when_the_worker_is(
    ending: str, call_s: float, tmp_path: Path
) -> None:
    script = Steps(Step('{"answer":"done"}', delay_s=call_s))
    shortest_s = modal_lease.DRAIN_S + modal_lease.EXIT_S + POLLING_S
    life_s = 3600.0 if ending == "interrupted" else shortest_s
    log = tmp_path / "worker.log"
    async with (
        TemporalServer(log_dir=tmp_path, port=free_port()) as temporal,
        ScriptedModelServer(script) as model,
    ):
        with log.open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-c", RUN_WORKER, str(life_s)),
                env={
                    **os.environ,
                    "TEMPORAL_ADDRESS": temporal.address,
                    "OUTLAST_MODEL__URL": model.url,
                    "OUTLAST_AGENTS": "tests.acceptance.agents",
                    "OUTLAST_DRAIN_S": f"{modal_lease.DRAIN_S:g}",
                    "OUTLAST_LOG_FORMAT": "json",
                },
                cwd=ROOT,
                stdout=output,
                stderr=output,
            )
        client = await Client.connect(target_host=temporal.address)
        run = await client.start("reader", "go")
        async with asyncio.timeout(90):
            while script.taken == 0:
                await asyncio.sleep(0.05)
        if ending == "interrupted":
            process.send_signal(signal.SIGINT)
        ending_at = time.monotonic()
        status = await asyncio.wait_for(process.wait(), shortest_s + 10)
        assert time.monotonic() - ending_at < (
            modal_lease.GRACE_S if ending == "interrupted" else shortest_s
        )
        assert status == (130 if ending == "interrupted" else 0)
        assert script.taken == 1
        history = await client.temporal.get_workflow_handle(run.id).fetch_history()
        completed = [
            e for e in history.events if e.HasField("activity_task_completed_event_attributes")
        ]
        assert len(completed) == 1  # the call in flight
    assert "worker.stopped" in log.read_text()

"""Modal: the dispatcher's rules, and the life of a worker that it starts."""

import asyncio
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

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

from bench.scripted_model_server import ScriptedModelServer, Step, Steps
from outlast import Client
from tests.deploy.readmes import made
from tests.deploy.tools import ROOT

BUILD_ID = "2026-11-24"

FLEET = Fleet("worker", (TaskQueue("agents", 100), TaskQueue("tools-serverless", 10)), 20)


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

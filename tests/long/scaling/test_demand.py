"""The service as its callers see it, with a real Temporal server and real worker processes."""

import asyncio
import contextlib
import importlib
import os
import shutil
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import httpx2
import pytest
from grpc_tools import protoc
from outlast_workers.demand.keda_protocol import file_descriptor
from outlast_workers.demand.temporal_source import ONLY_RUNNING
from outlast_workers.local.ports import HOST, free_port
from outlast_workers.local.servers import ChildProcess, TemporalServer
from temporalio.api.workflowservice.v1 import (
    ListWorkersRequest,
    SetWorkerDeploymentCurrentVersionRequest,
)
from temporalio.client import Client
from temporalio.common import VersioningBehavior, WorkerDeploymentVersion
from temporalio.service import RPCError
from temporalio.worker import Worker, WorkerDeploymentConfig

from bench.scaling.napping import TASK_QUEUE, WORKFLOW_QUEUE, Napper, nap

PROTO = Path(__file__).parent / "externalscaler.proto"
ENV = shutil.which("env") or "/usr/bin/env"
KEEP_S = 4
POLL_S = 0.5


@pytest.fixture(scope="module")
def keda(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What protoc makes of KEDA's proto file: the messages, and a client's stub."""
    folder = tmp_path_factory.mktemp("keda")
    into = [f"-I{PROTO.parent}", f"--python_out={folder}", f"--grpc_python_out={folder}"]
    assert protoc.main(["protoc", *into, str(PROTO)]) == 0
    sys.path.insert(0, str(folder))
    try:
        messages = importlib.import_module("externalscaler_pb2")
        messages.Stub = importlib.import_module("externalscaler_pb2_grpc").ExternalScalerStub  # type: ignore[attr-defined]
    finally:
        sys.path.remove(str(folder))
    return messages


@dataclass
class Site:
    temporal: TemporalServer
    client: Client
    demand: ChildProcess
    http: httpx2.AsyncClient
    channel: grpc.aio.Channel
    stack: AsyncExitStack
    log_dir: Path

    async def get(self, path: str) -> tuple[int, Any]:
        response = await self.http.get(path)
        return response.status_code, response.json()

    async def naps(self, count: int, for_s: float) -> list[Any]:
        return [
            await self.client.start_workflow(
                Napper.run, for_s, id=f"nap-{os.urandom(4).hex()}", task_queue=WORKFLOW_QUEUE
            )
            for _ in range(count)
        ]

    async def worker(self, *options: str) -> ChildProcess:
        command = [sys.executable, "-m", "bench.scaling.napping", *options]
        return await self.started(f"worker-{os.urandom(3).hex()}", command)

    async def started(self, name: str, command: list[str]) -> ChildProcess:
        with_address = [ENV, f"TEMPORAL_ADDRESS={self.temporal.address}", *command]
        child = ChildProcess(name, with_address, log_dir=self.log_dir)
        await child.start(at_once)
        self.stack.push_async_callback(child.stop)
        return child


async def at_once() -> bool:
    return True


@asynccontextmanager
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    port, grpc_port = free_port(), free_port()
    config = tmp_path / "demand.toml"
    config.write_text(
        f"[demand]\nport = {port}\ngrpc_port = {grpc_port}\npoll_s = {POLL_S}\nkeep_s = {KEEP_S}\n"
        f'queues = ["{TASK_QUEUE}"]\nslots = {{ {TASK_QUEUE} = 2 }}\n'
    )
    async with AsyncExitStack() as stack:
        temporal = TemporalServer(
            log_dir=tmp_path, port=free_port(), db=tmp_path / "temporal.db", log_level="error"
        )
        await stack.enter_async_context(temporal)
        client = await Client.connect(temporal.address)
        await stack.enter_async_context(
            Worker(client, task_queue=WORKFLOW_QUEUE, workflows=[Napper])
        )
        http = httpx2.AsyncClient(base_url=f"http://{HOST}:{port}", trust_env=False)
        await stack.enter_async_context(http)
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(f"{HOST}:{grpc_port}"))
        on = Site(temporal, client, temporal, http, channel, stack, tmp_path)
        command = [sys.executable, "-m", "outlast_workers", "demand", "--config", str(config)]
        on.demand = await on.started("demand", command)
        await until(lambda: _answers(http))
        yield on


async def _answers(http: httpx2.AsyncClient) -> bool:
    try:
        return (await http.get("/healthz")).status_code == 200
    except httpx2.TransportError:
        return False


async def until(condition: Callable[[], Awaitable[bool]], within_s: float = 30) -> None:
    async with asyncio.timeout(within_s):
        while not await condition():
            await asyncio.sleep(0.1)


async def shows(on: Site, path: str, **expected: Any) -> dict[str, Any]:
    """Wait until an answer has these values."""
    answer: dict[str, Any] = {}

    async def does() -> bool:
        nonlocal answer
        _, answer = await on.get(path)
        return expected.items() <= answer.items()

    try:
        await until(does)
    except TimeoutError:
        raise AssertionError(f"{path} never showed {expected}: {answer}") from None
    return answer


def test_the_messages_are_those_of_kedas_proto_file(keda: Any) -> None:
    made = keda.DESCRIPTOR
    ours = file_descriptor()
    for message in ours.message_type:
        theirs = made.message_types_by_name[message.name]
        assert [(field.name, field.number, field.type) for field in message.field] == [
            (field.name, field.number, field.type) for field in theirs.fields
        ]
    assert len(ours.message_type) == len(made.message_types_by_name)


@pytest.mark.timeout(180)
async def test_demand_is_told_under_load_at_zero_and_with_the_server_down(  # noqa: PLR0915 a story
    tmp_path: Path, keda: Any
) -> None:
    async with site(tmp_path) as on:
        stub = keda.Stub(on.channel)
        about = {"taskQueue": TASK_QUEUE, "queueTypes": "activity", "scalerAddress": "demand:8071"}
        ref = keda.ScaledObjectRef(name="naps", namespace="default", scalerMetadata=about)
        path = f"/demand/{TASK_QUEUE}?types=activity&slots=2"
        pushed = stub.StreamIsActive(ref)

        async def metric() -> float:
            request = keda.GetMetricsRequest(scaledObjectRef=ref, metricName="outlast-demand")
            (value,) = (await stub.GetMetrics(request)).metricValues
            assert value.metricName == "outlast-demand"
            assert value.metricValue == value.metricValueFloat
            return float(value.metricValueFloat)

        # At zero.
        status, answer = await on.get(path)
        assert (status, answer["demand"], answer["desired_workers"]) == (200, 0, 0)
        assert answer["oldest_s"] is None
        assert not (await stub.IsActive(ref)).result
        assert await metric() == 0
        (spec,) = (await stub.GetMetricSpec(ref)).metricSpecs
        assert (spec.metricName, spec.targetSize, spec.targetSizeFloat) == ("outlast-demand", 2, 2)
        assert not (await pushed.read()).result

        # Nobody serves it: all of it waits.
        naps = await on.naps(5, 16)
        answer = await shows(on, path, demand=5, busy=0, desired_workers=3)
        assert answer["backlog"] == {"workflow": 0, "activity": 5}
        assert answer["oldest_s"] > 0
        assert (await asyncio.wait_for(pushed.read(), 10)).result

        # One worker takes two of them: the backlog alone would call for fewer workers.
        await on.worker("--slots", "2")
        # The server calls its backlog approximate, and may show one too many here.
        answer = await shows(on, path, busy=2)
        assert answer["demand"] == answer["backlog"]["activity"] + 2 >= 5
        assert answer["desired_workers"] >= 3
        assert await metric() >= 5
        assert (await stub.IsActive(ref)).result
        about["activationDemand"] = "9"
        quiet = keda.ScaledObjectRef(scalerMetadata=about)
        assert not (await stub.IsActive(quiet)).result
        text = (await on.http.get("/metrics")).text
        labels = f'{{build_id="",deployment="",task_queue="{TASK_QUEUE}"}}'
        assert f"outlast_demand{labels} " in text
        assert f'outlast_backlog{labels[:-1]},type="activity"}} ' in text
        assert f"outlast_oldest_seconds{labels} " in text
        assert f"outlast_busy_slots{labels} 2.0\n" in text
        assert f"outlast_desired_workers{labels} " in text

        # The server is away: the last value with its age, then none; and it comes back.
        await on.temporal.stop()
        answer = await shows(on, path, is_stale=True)
        assert answer["busy"] == 2
        assert "Temporal" in answer["error"]
        assert await metric() == answer["demand"] >= 5

        async def gone() -> bool:
            return (await on.http.get(path)).status_code == 503

        await until(gone)
        assert "s old" in (await on.http.get(path)).json()["error"]
        for call in (stub.IsActive(ref), metric()):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await call
            assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        with pytest.raises(grpc.aio.AioRpcError):
            await asyncio.wait_for(pushed.read(), 10)
        assert (await stub.GetMetricSpec(ref)).metricSpecs, "needs no reading"
        text = (await on.http.get("/metrics")).text
        assert f"outlast_demand{labels}" not in text
        assert f"outlast_demand_age_seconds{labels}" in text
        assert await _answers(on.http)
        await on.temporal.__aenter__()
        await shows(on, path, is_stale=False, error=None)

        # What was begun ends, and nothing is needed any more.
        await on.worker("--slots", "3")
        assert await asyncio.gather(*(nap.result() for nap in naps))
        await shows(on, path, demand=0, desired_workers=0)
        assert not (await stub.IsActive(ref)).result


@pytest.mark.timeout(120)
async def test_a_version_has_a_demand_of_its_own_and_a_new_one_has_none(tmp_path: Path) -> None:
    async with site(tmp_path) as on:
        path = f"/demand/{TASK_QUEUE}?types=activity&deployment=outlast&build_id="
        status, answer = await on.get(path + "v2")
        assert (status, answer["demand"], answer["error"]) == (200, 0, None)
        await on.worker("--slots", "2", "--version", "outlast:v1")
        await on.worker("--slots", "1")

        await on.naps(4, 25)
        unversioned = await shows(on, f"/demand/{TASK_QUEUE}?types=activity", busy=1, demand=4)
        assert unversioned["backlog"]["activity"] == 3
        await shows(on, path + "v1", busy=0)


@asynccontextmanager
async def another_queue_of(on: Site, version: WorkerDeploymentVersion) -> AsyncIterator[None]:
    """Poll another queue as a version, which is made the current one."""
    deployed = WorkerDeploymentConfig(
        version=version,
        use_worker_versioning=True,
        default_versioning_behavior=VersioningBehavior.PINNED,
    )
    service = on.client.workflow_service

    async def becomes_current() -> bool:
        request = SetWorkerDeploymentCurrentVersionRequest(
            namespace=on.client.namespace,
            deployment_name=version.deployment_name,
            build_id=version.build_id,
        )
        with contextlib.suppress(RPCError):  # until it has polled
            await service.set_worker_deployment_current_version(request)
            return True
        return False

    async with Worker(on.client, task_queue="cpu", activities=[nap], deployment_config=deployed):
        await until(becomes_current)
        yield


@pytest.mark.timeout(120)
async def test_waiting_tasks_start_the_first_worker_of_the_current_version(
    tmp_path: Path,
) -> None:
    async with site(tmp_path) as on:
        path = f"/demand/{TASK_QUEUE}?types=activity&deployment=outlast&build_id="
        async with another_queue_of(on, WorkerDeploymentVersion("outlast", "b1")):
            await on.naps(1, 60)
            await shows(on, f"/demand/{TASK_QUEUE}", demand=1)
            await shows(on, path + "b1", demand=1, desired_workers=1)
            await shows(on, path + "b0", demand=0)
            await on.worker("--version", "outlast:b1")
            answer = await shows(on, path + "b1", busy=1, demand=1)
            assert answer["backlog"]["activity"] == 0


@pytest.mark.timeout(120)
async def test_workers_that_ended_are_not_listed_by_the_filter_that_is_used(tmp_path: Path) -> None:
    async with site(tmp_path) as on:
        ended, running = await on.worker(), await on.worker()

        async def listed(only: str) -> list[int]:
            query = f'TaskQueue="{TASK_QUEUE}"{only}'
            request = ListWorkersRequest(namespace=on.client.namespace, query=query)
            found = await on.client.workflow_service.list_workers(request)
            return [int(one.worker_heartbeat.host_info.process_id) for one in found.workers_info]

        async def both() -> bool:
            return len(await listed(ONLY_RUNNING)) == 2

        await until(both)
        await ended.stop()
        await until(lambda: _is(listed(ONLY_RUNNING), [running.pid]))
        assert len(await listed("")) == 2


async def _is(found: Awaitable[list[int]], expected: list[int]) -> bool:
    return await found == expected


@pytest.mark.timeout(120)
async def test_workers_that_drain_or_were_killed_are_not_counted_as_busy(tmp_path: Path) -> None:
    async with site(tmp_path) as on:
        path = f"/demand/{TASK_QUEUE}?types=activity"
        draining = await on.worker("--slots", "1", "--drain-s", "60")
        killed = await on.worker("--slots", "1")
        await on.naps(3, 60)
        await shows(on, path, busy=2)
        os.kill(draining.pid, signal.SIGTERM)
        await shows(on, path, busy=1)
        await asyncio.sleep(3)  # by now it has reported its heartbeat interval
        os.kill(killed.pid, signal.SIGKILL)
        await shows(on, path, busy=0)


async def test_invalid_queries_and_many_callers(tmp_path: Path, keda: Any) -> None:
    async with site(tmp_path) as on:
        for query in ("slots=0", "types=all", "deployment=outlast", "slot=2"):
            status, answer = await on.get(f"/demand/{TASK_QUEUE}?{query}")
            assert status == 400
            assert len(answer["error"].splitlines()) == 1
        stub = keda.Stub(on.channel)
        wrong = keda.ScaledObjectRef(scalerMetadata={"taskQueue": "q", "queueType": "activity"})
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.IsActive(wrong)
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert (
            refused.value.details() == "'queueType' is not a parameter; did you mean 'queueTypes'?"
        )
        _, answer = await on.get(f"/demand/{TASK_QUEUE}?task_queue=another")
        assert answer["task_queue"] == TASK_QUEUE
        began = time.monotonic()
        answers = await asyncio.gather(*(on.get("/demand/with/slashes") for _ in range(200)))
        polls = 2 + (time.monotonic() - began) / POLL_S
        assert {status for status, _ in answers} == {200}
        assert len({answer["as_of"] for _, answer in answers}) <= polls, "a poll serves them all"
        status, answer = await on.get("/demand")
        assert status == 200
        assert {one["task_queue"] for one in answer["queues"]} == {
            "agents",
            TASK_QUEUE,
            "with/slashes",
        }
        # An open stream does not keep it from ending.
        stream = stub.StreamIsActive(keda.ScaledObjectRef(scalerMetadata={"taskQueue": "q"}))
        assert not (await stream.read()).result
        os.kill(on.demand.pid, signal.SIGTERM)
        assert "demand.stopped" in await asyncio.wait_for(on.demand.ended(), 10)

"""From a real worker that is busy to the cost of its pod: a real Temporal server, a fake of Kubernetes."""

import asyncio
import os
import signal
import subprocess
import sys
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from outlast_workers.local.ports import free_port
from outlast_workers.local.servers import ChildProcess, TemporalServer
from temporalio.client import Client
from temporalio.worker import Worker

from bench.scaling.bursts import AS_A_POD
from bench.scaling.napping import TASK_QUEUE, WORKFLOW_QUEUE, Napper
from tests.workers.demand.fake_kubernetes import FakeKubernetes, serving

PODS = ("outlast-tools-a", "outlast-tools-b")

ELSEWHERE = """
import functools, pathlib, sys
from outlast_workers.__main__ import main
from outlast_workers.demand import service
account = pathlib.Path(sys.argv.pop(1))
service.in_cluster = functools.partial(service.in_cluster, account=account)
main()
"""
"""The command, with the account where a test may write it."""

CAN_NAME_HOSTS = (
    sys.platform == "linux"
    and subprocess.run([*AS_A_POD, "a", "true"], check=False, timeout=10).returncode == 0
)


@pytest.mark.skipif(not CAN_NAME_HOSTS, reason="this machine names no process its own host")
@pytest.mark.timeout(120)
async def test_the_pod_of_a_busy_worker_costs_more_until_its_work_is_done(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        temporal = TemporalServer(log_dir=tmp_path, port=free_port(), log_level="error")
        await stack.enter_async_context(temporal)
        client = await Client.connect(temporal.address)
        workflows = Worker(client, task_queue=WORKFLOW_QUEUE, workflows=[Napper])
        await stack.enter_async_context(workflows)
        kubernetes = await stack.enter_async_context(serving(FakeKubernetes(*PODS), tmp_path))
        for pod in PODS:
            worker = [*AS_A_POD, pod, sys.executable, "-m", "bench.scaling.napping"]
            await _started(pod, worker, temporal, tmp_path, stack)

        service = await _service(temporal, kubernetes, tmp_path, stack)
        await _cost(kubernetes, "0", "0")
        nap = await client.start_workflow(Napper.run, 6.0, id="nap", task_queue=WORKFLOW_QUEUE)
        await _cost(kubernetes, "0", "1")
        await nap.result()
        await _cost(kubernetes, "0", "0")
        os.kill(service.pid, signal.SIGTERM)
        assert "demand.stopped" in await asyncio.wait_for(service.ended(), 10)
        assert len(kubernetes.patched) == 4


async def _service(
    temporal: TemporalServer, kubernetes: FakeKubernetes, account: Path, stack: AsyncExitStack
) -> ChildProcess:
    settings = {
        **kubernetes.variables,
        "OUTLAST_DEMAND__PORT": free_port(),
        "OUTLAST_DEMAND__GRPC_PORT": free_port(),
        "OUTLAST_DEMAND__QUEUES": f'["{TASK_QUEUE}"]',
        "OUTLAST_DEMAND__POLL_S": 0.5,
        "OUTLAST_DEMAND__PODS__ENABLED": "true",
        "OUTLAST_DEMAND__PODS__PREFIX": "outlast-",
    }
    variables = [f"{name}={value}" for name, value in settings.items()]
    command = [*variables, sys.executable, "-c", ELSEWHERE, str(account), "demand"]
    return await _started("demand", command, temporal, account, stack)


async def _started(
    name: str, command: list[str], temporal: TemporalServer, logs: Path, stack: AsyncExitStack
) -> ChildProcess:
    with_address = ["/usr/bin/env", f"TEMPORAL_ADDRESS={temporal.address}", *command]
    child = ChildProcess(name, with_address, log_dir=logs)

    async def at_once() -> bool:
        return True

    await child.start(at_once)
    stack.push_async_callback(child.stop)
    return child


async def _cost(kubernetes: FakeKubernetes, *expected: str) -> None:
    """Wait until the pods cost so much, whichever they are."""
    try:
        async with asyncio.timeout(30):
            while sorted(map(str, kubernetes.costs.values())) != list(expected):
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise AssertionError(f"pods never cost {expected}: {kubernetes.costs}") from None

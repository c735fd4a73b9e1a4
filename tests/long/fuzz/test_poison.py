"""Poison: each input is refused or handled, at once, with bounded memory, in code and on a real worker."""

import asyncio
import contextlib
import json
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from outlast_workers.local.ports import free_port
from outlast_workers.local.servers import TemporalServer
from temporalio.api.common.v1 import Payload
from temporalio.client import WorkflowFailureError
from temporalio.common import RawValue

from bench.scripted_model_server import ScriptedModelServer, Step
from outlast import Client
from tests.acceptance.processes import ROOT, WorkerUnderTest
from tests.long.fuzz.poison import CHECKS, REQUESTS

MOST_CPU_S = 1.0
KILL_AFTER_S = 20.0
ENDS_WITHIN_S = 10.0
LIVE_WITHIN_S = 1.0
LATE_S = 1.0
"""How much later a health answer may be on a machine that is busy with other things."""


@pytest.mark.timeout(KILL_AFTER_S + 20)
@pytest.mark.parametrize("name", [*REQUESTS, *CHECKS])
def test_poison_is_refused_or_handled_at_once(name: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "tests.long.fuzz.poison", name],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=KILL_AFTER_S,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-1_000:]
    report = json.loads(ended.stdout)
    assert report["cpu_s"] < MOST_CPU_S, report


@pytest_asyncio.fixture(scope="module")
async def poisoned(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Client, int]]:
    """Serve one worker for all inputs, with a health endpoint. An input that stops it fails the rest."""
    port, tmp_path = free_port(), tmp_path_factory.mktemp("poisoned")
    async with (
        TemporalServer(log_dir=tmp_path, port=free_port(), log_level="error") as temporal,
        ScriptedModelServer(lambda _: Step('{"answer":"done"}')) as model,
    ):
        worker = WorkerUnderTest(
            address=temporal.address,
            model_url=model.url,
            agents="tests.acceptance.agents",
            log=tmp_path / "worker.log",
            drain_s=1,
            settings={"OUTLAST_HEALTH__PORT": str(port)},
        )
        await worker.start()
        try:
            yield await Client.connect(target_host=temporal.address), port
        finally:
            await worker.kill()


async def live_within(port: int) -> float:
    """Return how long the worker takes to say that it is alive."""
    began = time.monotonic()
    async with asyncio.timeout(KILL_AFTER_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        await reader.read()
        writer.close()
    return time.monotonic() - began


async def slowest_answer(port: int, stop: asyncio.Event) -> float:
    slowest = 0.0
    while not stop.is_set():
        slowest = max(slowest, await live_within(port))
        await asyncio.sleep(0.1)
    return slowest


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", REQUESTS)
async def test_a_worker_lives_on_after_a_poisoned_start(
    poisoned: tuple[Client, int], name: str
) -> None:
    client, port = poisoned
    data = json.dumps(REQUESTS[name]()).replace('"plain"', '"reader"').encode()
    stop = asyncio.Event()
    looking = asyncio.create_task(slowest_answer(port, stop))
    handle = await client.temporal.start_workflow(
        "AgentWorkflow",
        RawValue(Payload(metadata={"encoding": b"json/plain"}, data=data)),
        id=f"poison-{uuid.uuid4().hex[:8]}",
        task_queue="agents",
    )
    with contextlib.suppress(WorkflowFailureError):
        await asyncio.wait_for(handle.result(), ENDS_WITHIN_S)
    result: Any = await asyncio.wait_for(client.run("reader", "go"), ENDS_WITHIN_S)
    assert result.output == "done"
    stop.set()
    assert await looking < LIVE_WITHIN_S + LATE_S

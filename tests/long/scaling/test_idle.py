"""Idle exit against a real server: when workers end by themselves, and when they do not."""

import asyncio
import os
import sys
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
from outlast_workers.__main__ import main
from outlast_workers.idle import IdleExit
from outlast_workers.task_queues import run_workers
from structlog.testing import capture_logs
from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.worker import Worker

AFTER_S = 1.5


@activity.defn
async def work(seconds: float) -> None:
    await asyncio.sleep(seconds)


@workflow.defn(sandboxed=False)
class Working:
    @workflow.run
    async def run(self, seconds: float) -> None:
        await workflow.execute_activity(work, seconds, start_to_close_timeout=timedelta(seconds=30))


@workflow.defn(sandboxed=False)
class Waiting:
    """Stays in the worker's cache and does nothing but answer."""

    @workflow.run
    async def run(self) -> None:
        await workflow.sleep(60)

    @workflow.query
    def is_here(self) -> bool:
        return True


@asynccontextmanager
async def until_idle(client: Client, *queues: str) -> AsyncIterator["asyncio.Task[float]"]:
    """Serve the queues by workers that share a plugin; the task returns when they ended."""
    idle = IdleExit(AFTER_S)
    workers = [
        Worker(
            client,
            task_queue=queue,
            workflows=[Working, Waiting],
            activities=[work],
            plugins=[idle],
        )
        for queue in queues
    ]

    async def serving() -> float:
        await run_workers(workers, asyncio.Event(), drain_s=1)
        return time.monotonic()

    task = asyncio.create_task(serving())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def queue() -> str:
    return f"idle-{uuid.uuid4()}"


async def test_a_worker_that_never_had_a_task_ends(temporal: Client) -> None:
    began = time.monotonic()
    async with until_idle(temporal, name := queue()) as ended:
        with capture_logs() as logs:
            async with asyncio.timeout(AFTER_S + 10):
                assert await ended - began >= AFTER_S
    assert {
        "event": "worker.idle",
        "task_queue": name,
        "idle_s": AFTER_S,
        "log_level": "info",
    } in logs


async def test_an_activity_in_flight_keeps_the_worker(temporal: Client) -> None:
    async with until_idle(temporal, name := queue()) as ended:
        await temporal.execute_workflow(Working.run, 2.5 * AFTER_S, id=name, task_queue=name)
        finished = time.monotonic()
        assert not ended.done()
        async with asyncio.timeout(AFTER_S + 10):
            # The workflow's last task begins the wait anew, a little before the result is here.
            assert await ended - finished >= AFTER_S - 0.5


async def test_workflow_tasks_keep_the_worker(temporal: Client) -> None:
    async with until_idle(temporal, name := queue()) as ended:
        run = await temporal.start_workflow(Waiting.run, id=name, task_queue=name)
        until = time.monotonic() + 2 * AFTER_S
        while time.monotonic() < until:
            assert await run.query(Waiting.is_here)  # answered by a workflow task
            await asyncio.sleep(0.2)
        assert not ended.done()
        await run.terminate()


async def test_a_run_that_waits_in_the_cache_does_not_keep_the_worker(temporal: Client) -> None:
    async with until_idle(temporal, name := queue()) as ended:
        run = await temporal.start_workflow(Waiting.run, id=name, task_queue=name)
        assert await run.query(Waiting.is_here)
        async with asyncio.timeout(AFTER_S + 10):
            await ended
        await run.terminate()


async def test_a_busy_worker_keeps_the_others_of_its_process(temporal: Client) -> None:
    busy, other = queue(), queue()
    async with until_idle(temporal, busy, other) as ended:
        await temporal.execute_workflow(Working.run, 2 * AFTER_S, id=busy, task_queue=busy)
        # Nobody has touched the other queue for longer than the bound, and it is served.
        await temporal.execute_workflow(Working.run, 0, id=other, task_queue=other)
        assert not ended.done()


async def test_a_process_that_is_idle_exits_with_0(temporal: Client) -> None:
    options = (
        "--roles",
        "workflows",
        "--agents",
        "outlast_examples.refund_desk",
        "--idle-exit",
        "1",
    )
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "outlast_workers", "run", *options),
        env={**os.environ, "TEMPORAL_ADDRESS": temporal.service_client.config.target_host},
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        _, errors = await process.communicate()
    assert process.returncode == 0, errors
    assert b"worker.idle" in errors
    assert b"worker.stopped" in errors


def test_no_time_at_all_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--idle-exit", "0"]) == 1
    assert "idle_exit_s: input should be greater than 0" in capsys.readouterr().err

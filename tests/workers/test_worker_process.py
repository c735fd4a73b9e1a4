"""A worker process as a whole: its health endpoint reports what the process can reach."""

import asyncio
import json
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from outlast_workers.local.ports import free_port
from outlast_workers.local.servers import TemporalServer
from outlast_workers.settings import Settings
from outlast_workers.settings_sections.model_servers import ModelSettings
from outlast_workers.settings_sections.workers import HealthSettings
from outlast_workers.worker_process import run_process

from bench.scripted_model_server import ScriptedModelServer, Step, Steps, turns
from outlast import Client


def look(port: int) -> tuple[int, dict[str, Any]]:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://127.0.0.1:{port}/healthz", timeout=5) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, json.load(refused)


async def until_health(port: int, *, model_reachable: bool) -> tuple[int, dict[str, Any]]:
    """Return what a process reports once it reaches Temporal, and its model server or not.

    On a busy machine, an answer of Temporal can take longer than a check waits.
    """
    async with asyncio.timeout(30):
        while True:
            status, body = await asyncio.to_thread(look, port)
            if body["temporal_reachable"] and body["model_reachable"] is model_reachable:
                return status, body
            await asyncio.sleep(0.05)


async def test_health_reports_what_a_process_can_reach(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("outlast_workers.worker_process.CHECK_INTERVAL_S", 0.2)
    port = free_port()
    stop, ready = asyncio.Event(), asyncio.Event()
    temporal = TemporalServer(log_dir=tmp_path, port=free_port())
    async with temporal:
        async with ScriptedModelServer(turns(1)) as model:
            settings = Settings(
                agents=("outlast_examples.refund_desk",),
                model=ModelSettings(url=model.url),
                health=HealthSettings(port=port),
                log_level="error",
            )
            process = asyncio.create_task(
                run_process(settings, stop=stop, address=temporal.address, ready=ready.set)
            )
            await ready.wait()
            status, body = await until_health(port, model_reachable=True)
            assert (status, body["status"]) == (200, "ready")
            assert body["queues"]["tools"] == "agents"
        status, _ = await until_health(port, model_reachable=False)
        assert status == 503
        stop.set()
        await process


async def test_a_life_ends_while_tasks_keep_coming_and_the_task_in_flight_completes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trickle of work: a task begins before the last one has ended, so an idle exit never comes."""
    monkeypatch.setattr("outlast_workers.worker_process.LIFE_JITTER", 0.0)
    async with (
        TemporalServer(log_dir=tmp_path, port=free_port()) as temporal,
        ScriptedModelServer(Steps(*[Step('{"answer":"done"}', delay_s=0.3)] * 200)) as model,
    ):
        settings = Settings(
            agents=("tests.acceptance.agents",),
            model=ModelSettings(url=model.url),
            idle_exit_s=1,
            log_level="error",
        ).model_copy(update={"max_life_s": 4.0})
        client = await Client.connect(target_host=temporal.address)
        ready, stop = asyncio.Event(), asyncio.Event()
        started_at = time.monotonic()
        process = asyncio.create_task(
            run_process(settings, stop=stop, address=temporal.address, ready=ready.set)
        )
        await ready.wait()
        trickle = asyncio.create_task(_start_runs(client))
        async with asyncio.timeout(60):
            await process
        life_s = time.monotonic() - started_at
        trickle.cancel()
        attempts = await _attempts(client)
    assert 4 <= life_s < 30
    assert attempts == {1}, "the drain completed what was in flight"


async def _start_runs(client: Client) -> None:
    while True:  # ends with the test
        await client.start("reader", "go")
        await asyncio.sleep(0.2)


async def _attempts(client: Client) -> set[int]:
    """Return the attempts of the model calls that began before the life was over."""
    attempts = set()
    async for run in client.temporal.list_workflows("WorkflowType='AgentWorkflow'"):
        history = await client.temporal.get_workflow_handle(run.id).fetch_history()
        for event in history.events:
            if event.HasField("activity_task_started_event_attributes"):
                attempts.add(event.activity_task_started_event_attributes.attempt)
    return attempts

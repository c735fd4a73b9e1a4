"""A worker process as a whole: its health endpoint reports what the process can reach."""

import asyncio
import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from outlast_workers.local.ports import free_port
from outlast_workers.local.servers import TemporalServer
from outlast_workers.settings import Settings
from outlast_workers.settings_sections import HealthSettings, ModelSettings
from outlast_workers.worker_process import run_process

from bench.scripted_model_server import ScriptedModelServer, turns


def look(port: int) -> tuple[int, dict[str, Any]]:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://127.0.0.1:{port}/healthz", timeout=5) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, json.load(refused)


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
            await asyncio.sleep(0.5)
            status, body = await asyncio.to_thread(look, port)
            assert (status, body["status"], body["model_reachable"]) == (200, "ready", True)
            assert body["queues"]["tools"] == "agents"
        await asyncio.sleep(1)
        status, body = await asyncio.to_thread(look, port)
        assert (status, body["model_reachable"], body["temporal_reachable"]) == (503, False, True)
        stop.set()
        await process

import asyncio
import os
import signal
import socket
import sys
import time
import uuid
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from temporalio.client import Client

from outlast.errors import NotReady
from workers.connection import ensure_search_attributes
from workers.processes import (
    ROOT,
    ChildProcess,
    EmbeddedModel,
    TemporalServer,
    free_port,
)

OUTLIVES_SIGTERM = "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True)"


async def at_once() -> bool:
    return True


async def never() -> bool:
    return False


def python(code: str, log_dir: Path) -> ChildProcess:
    return ChildProcess("child", [sys.executable, "-c", code], log_dir=log_dir)


def exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def gone(pid: int) -> bool:
    deadline = time.monotonic() + 5
    while exists(pid) and time.monotonic() < deadline:
        await asyncio.sleep(0.02)
    return not exists(pid)


async def test_runs_of_a_server_outlast_it_on_its_database(tmp_path: Path) -> None:
    db = tmp_path / "state" / "temporal.db"
    port = free_port()
    async with TemporalServer(log_dir=tmp_path, port=port, db=db) as server:
        client = await Client.connect(server.address)
        with capture_logs() as lines:
            assert await ensure_search_attributes(client)
        assert lines == []
        await client.start_workflow("Anything", id="kept", task_queue="nobody")
        assert os.getpgid(server.pid) == server.pid != os.getpgrp()
    assert not exists(server.pid)
    async with TemporalServer(log_dir=tmp_path, port=port, db=db) as server:
        client = await Client.connect(server.address)
        assert (await client.get_workflow_handle("kept").describe()).id == "kept"


async def test_a_database_without_our_search_attributes_gets_them(tmp_path: Path) -> None:
    ui_port = free_port()
    async with TemporalServer(log_dir=tmp_path, port=free_port(), ui_port=ui_port) as server:
        assert server.ui_url == f"http://127.0.0.1:{ui_port}"
        client = await Client.connect(server.address)
        assert await client.count_workflows("AgentName = 'a' AND AgentCostUsd > 1")
        reader, writer = await asyncio.open_connection("127.0.0.1", ui_port)
        writer.close()

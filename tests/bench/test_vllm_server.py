"""VllmServer and its installation, with something that is no vLLM: how they fail, and what they leave."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest
from outlast_workers.local.ports import free_port

from bench.cache import make_once
from bench.engines.vllm_install import Installation
from bench.engines.vllm_server import BASE_URL_VARIABLE, VllmServer, vllm
from outlast.errors import NotReady

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="vLLM is packaged for Linux")


def pretended(folder: Path, script: str) -> Installation:
    python = folder / "python"
    python.write_text(f"#!/bin/sh\n{script}\n")
    python.chmod(0o755)
    return Installation(python=python, model=folder)


def group_is_gone(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False


async def gone(group: int) -> bool:
    for _ in range(600):
        if group_is_gone(group):
            return True
        await asyncio.sleep(0.05)
    return False


async def ready() -> bool:
    return True


async def test_server_that_ends_at_its_start_says_why(tmp_path: Path) -> None:
    broken = pretended(tmp_path, "echo no memory; echo traceback follows; exit 1")
    with pytest.raises(NotReady, match="no memory"):
        async with VllmServer(broken, log_dir=tmp_path):
            pass


async def test_processes_of_its_engine_end_with_a_server_that_was_killed(tmp_path: Path) -> None:
    server = VllmServer(pretended(tmp_path, "sleep 300 & sleep 300"), log_dir=tmp_path)
    await server.start(ready)
    await asyncio.sleep(0.3)
    os.kill(server.pid, signal.SIGKILL)
    await server.ended()
    assert await gone(server.pid)


async def test_stop_ends_what_does_not_end_by_itself(tmp_path: Path) -> None:
    stubborn = pretended(tmp_path, "trap '' TERM; sleep 300 & sleep 300; sleep 300")
    server = VllmServer(stubborn, log_dir=tmp_path)
    await server.start(ready)
    await asyncio.sleep(0.3)
    await server.stop(within_s=0.2)
    assert await gone(server.pid)


async def test_named_server_that_does_not_answer_is_not_ready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(BASE_URL_VARIABLE, f"http://127.0.0.1:{free_port()}/v1")
    with pytest.raises(NotReady, match=BASE_URL_VARIABLE):
        async with vllm(log_dir=tmp_path):
            pass


def test_what_was_half_made_is_made_anew(tmp_path: Path) -> None:
    target = tmp_path / "venv"

    def interrupted(folder: Path) -> None:
        folder.mkdir()
        (folder / "half").touch()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_once(target, b"a", interrupted)
    make_once(target, b"a", Path.mkdir)
    assert not (target / "half").exists()


def test_what_was_made_is_made_again_only_from_something_else(tmp_path: Path) -> None:
    target, made = tmp_path / "venv", list[Path]()

    def make(folder: Path) -> None:
        made.append(folder)
        folder.mkdir()

    make_once(target, b"a", make)
    make_once(target, b"a", make)
    assert len(made) == 1
    make_once(target, b"b", make)
    assert len(made) == 2

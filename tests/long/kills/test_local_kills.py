"""Workers that are killed during a short call: it is repeated as an ordinary activity, and counted."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bench.scripted_model_server import Request, Step
from tests.conditions import until
from tests.long.site import ANSWER, Site, calling, local_tools, site


def decided(request: Request) -> Step:
    """Make the call that the input of the run holds, then answer."""
    given = next(message for message in request.messages if message["role"] == "user")["content"]
    text = json.loads(given)["said"] if given.startswith('{"said":') else given
    return Step(ANSWER if request.assistant_messages else text)


@contextlib.asynccontextmanager
async def restarted(on: Site) -> AsyncIterator[None]:
    """Start the worker again each time it ends."""

    async def supervise() -> None:
        while True:
            await on.worker.ended()
            await on.worker.start()

    supervising = asyncio.create_task(supervise())
    try:
        yield
    finally:
        supervising.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await supervising


FIRST_ATTEMPT = pytest.mark.parametrize("first", ["local", "ordinary"])
"""The first attempt of a call is ordinary if the settings switch local tools off."""


@contextlib.asynccontextmanager
async def site_of(tmp_path: Path, first: str) -> AsyncIterator[Site]:
    is_local = first == "local"
    agents = "tests.long.kills.local_tools"
    async with site(tmp_path, decided, agents=agents, settings=local_tools(enabled=is_local)) as on:
        yield on


def places(log: Path) -> list[str]:
    return log.read_text().splitlines() if log.exists() else []


@FIRST_ATTEMPT
@pytest.mark.timeout(120)
async def test_a_read_whose_worker_is_killed_is_ordinary_afterwards(
    tmp_path: Path, first: str
) -> None:
    log = tmp_path / "calls"
    async with site_of(tmp_path, first) as on:
        run = await on.client.start("short", calling("held", log=str(log)))
        await until(lambda: places(log) == [first])
        await on.worker.kill()
        killed = time.monotonic()
        await on.worker.start()
        result = await run.result()
        took_s = time.monotonic() - killed
    assert result.output == "done"
    assert places(log) == [first, "ordinary"]
    assert took_s < 30, "the workflow task times out after 10 s"


@FIRST_ATTEMPT
@pytest.mark.timeout(240)
async def test_a_tool_that_kills_its_process_has_bounded_attempts(
    tmp_path: Path, first: str
) -> None:
    log = tmp_path / "calls"
    async with site_of(tmp_path, first) as on, restarted(on):
        run = await on.client.start("short", calling("fatal", log=str(log), deaths=99))
        result = await run.result()
        transcript = await run.transcript()
    assert result.output == "done"
    assert "all attempts timed out, were paused or lost their workers" in str(transcript)
    assert places(log) == [*["local"] * (first == "local"), *["ordinary"] * 4]

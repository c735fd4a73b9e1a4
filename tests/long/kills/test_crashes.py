"""Crashes for real: worker processes and a server that are killed in the middle of a run."""

import asyncio
import time
from pathlib import Path

import pytest

from bench.scripted_model_server import Step, Steps
from tests.conditions import until
from tests.long.site import ANSWER, calling, site

NEXT_ATTEMPT_WITHIN_S = 15


@pytest.mark.timeout(90)
async def test_a_worker_killed_in_a_model_call_costs_that_call_and_no_more(tmp_path: Path) -> None:
    script = Steps(
        calling("page", number=1), Step(ANSWER, delay_s=30), calling("page", number=2), ANSWER
    )
    async with site(tmp_path, script) as on:
        run = await on.client.start("reader", "go")
        await until(lambda: script.taken == 2)
        await asyncio.sleep(1)
        await on.worker.kill()
        killed = time.monotonic()
        await on.worker.start()
        await until(lambda: script.taken == 3)
        assert time.monotonic() - killed < NEXT_ATTEMPT_WITHIN_S
        result = await run.result()
    assert (result.output, result.turns) == ("done", 3)
    assert script.taken == 4  # three turns, and the one call that was repeated


@pytest.mark.timeout(90)
async def test_a_worker_killed_in_a_tool_costs_that_attempt(tmp_path: Path) -> None:
    log = tmp_path / "tool.log"
    script = Steps(calling("slow", log=str(log), seconds=3), ANSWER)
    async with site(tmp_path, script) as on:
        run = await on.client.start("patient", "go")
        await until(log.exists)
        await asyncio.sleep(1)
        await on.worker.kill()
        killed = time.monotonic()
        await on.worker.start()
        await until(lambda: log.read_text().count("began") == 2)
        assert time.monotonic() - killed < NEXT_ATTEMPT_WITHIN_S
        result = await run.result()
    assert (result.output, result.turns) == ("done", 2)
    assert script.taken == 2
    assert log.read_text().count("began") == 2


@pytest.mark.timeout(90)
async def test_a_server_that_is_stopped_and_started_loses_nothing(tmp_path: Path) -> None:
    script = Steps(
        calling("page", number=1),
        Step(calling("page", number=2), delay_s=2),
        calling("page", number=3),
        ANSWER,
        ANSWER,
    )
    async with site(tmp_path, script) as on:
        run = await on.client.start("reader", "go")
        await until(lambda: script.taken == 2)
        await on.temporal.stop()
        await asyncio.sleep(1)
        await on.temporal.__aenter__()
        result = await run.result()
    assert (result.output, result.turns) == ("done", 4)
    assert script.taken <= 5


@pytest.mark.timeout(60)
async def test_a_worker_that_is_told_to_end_drains(tmp_path: Path) -> None:
    script = Steps(Step(ANSWER, delay_s=2))
    async with site(tmp_path, script) as on:
        run = await on.client.start("reader", "go")
        await until(lambda: script.taken == 1)
        assert await on.worker.terminate() == 0
        await on.worker.start()
        assert (await run.result()).output == "done"
    assert script.taken == 1  # the call in flight was let end


@pytest.mark.timeout(60)
async def test_a_tool_that_cannot_be_cancelled_does_not_keep_the_process(tmp_path: Path) -> None:
    log = tmp_path / "tool.log"
    script = Steps(calling("stuck", log=str(log)), ANSWER)
    async with site(tmp_path, script, drain_s=1) as on:
        await on.client.start("stubborn", "go")
        await until(log.exists)
        stopped_at = time.monotonic()
        assert await on.worker.terminate() == 0
        assert time.monotonic() - stopped_at < 1 + 8

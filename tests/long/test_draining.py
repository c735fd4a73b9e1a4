"""Workers that are stopped during work: activities are handed back, and cost no attempt."""

import asyncio
import functools
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from outlast_workers.local.ports import free_port
from outlast_workers.local.servers import TemporalServer

from bench.scripted_model_server import Script, ScriptedModelServer, Step, Steps
from outlast import Client
from tests.acceptance.processes import WorkerUnderTest
from tests.conditions import until
from tests.long.site import ANSWER, calling

DRAIN_S = 1.0
HANDED_BACK_WITHIN_S = DRAIN_S + 8
"""The grace, and what is left of a platform's own for the end of the process."""

NEXT_WITHIN_S = 2.0


class Site:
    """A server, a model, and workers of one role each, of which any may be started twice."""

    def __init__(self, temporal: TemporalServer, model: ScriptedModelServer, folder: Path) -> None:
        self._temporal = temporal
        self._model = model
        self._folder = folder
        self.started: list[WorkerUnderTest] = []

    async def worker(self, role: str) -> WorkerUnderTest:
        worker = WorkerUnderTest(
            address=self._temporal.address,
            model_url=self._model.url,
            agents="tests.acceptance.agents",
            log=self._folder / f"{role}-{len(self.started)}.log",
            drain_s=DRAIN_S,
            roles=role,
        )
        await worker.start()
        self.started.append(worker)
        return worker

    async def client(self) -> Client:
        return await Client.connect(target_host=self._temporal.address)


@asynccontextmanager
async def site(folder: Path, script: Script) -> AsyncIterator[Site]:
    temporal = TemporalServer(log_dir=folder, port=free_port())
    async with temporal, ScriptedModelServer(script) as model:
        on = Site(temporal, model, folder)
        try:
            yield on
        finally:
            await asyncio.gather(*(worker.terminate() for worker in on.started))


def has_counted(log: Path, least: int) -> bool:
    return len(log.read_text().split()) >= least


@pytest.mark.timeout(90)
async def test_a_model_call_is_handed_back_and_begins_anew_at_once(tmp_path: Path) -> None:
    script = Steps(Step(ANSWER, delay_s=60), ANSWER)
    async with site(tmp_path, script) as on:
        for role in ("workflows", "tools"):
            await on.worker(role)
        first = await on.worker("generate")
        run = await (await on.client()).start("reader", "go")
        await until(lambda: script.taken == 1)
        await on.worker("generate")
        stopped_at = time.monotonic()
        assert await first.terminate() == 0
        assert time.monotonic() - stopped_at < HANDED_BACK_WITHIN_S
        await until(lambda: script.taken == 2, within_s=NEXT_WITHIN_S)
        assert (await run.result()).output == "done"
    assert script.taken == 2


@pytest.mark.timeout(120)
async def test_a_long_tool_goes_on_from_its_checkpoint_and_loses_no_attempt(tmp_path: Path) -> None:
    """It has four attempts of its own, and is handed back more often."""
    log, upto = tmp_path / "count.log", 120
    script = Steps(calling("count", log=str(log), upto=upto), ANSWER)
    async with site(tmp_path, script) as on:
        for role in ("workflows", "generate"):
            await on.worker(role)
        current = await on.worker("tools")
        run = await (await on.client()).start("counter", "go")
        await until(log.exists)
        for _ in range(6):
            following = await on.worker("tools")
            assert await current.terminate() == 0
            counted = len(log.read_text().split())
            await until(functools.partial(has_counted, log, counted + 1), within_s=NEXT_WITHIN_S)
            current = following
        result = await run.result()
    assert result.output == "done"
    assert log.read_text().split() == [str(number) for number in range(upto)], "counted once each"


@pytest.mark.timeout(90)
async def test_the_run_itself_goes_on_with_another_worker_of_its_role(tmp_path: Path) -> None:
    script = Steps(calling("page", number=1), Step(ANSWER, delay_s=3))
    async with site(tmp_path, script) as on:
        for role in ("generate", "tools"):
            await on.worker(role)
        first = await on.worker("workflows")
        run = await (await on.client()).start("reader", "go")
        await until(lambda: script.taken == 2)
        stopped_at = time.monotonic()
        assert await first.terminate() == 0
        assert time.monotonic() - stopped_at < HANDED_BACK_WITHIN_S
        await on.worker("workflows")
        assert (await run.result()).output == "done"
    assert script.taken == 2

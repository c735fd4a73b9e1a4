"""Builds on a real Temporal server, with worker processes of two builds: by the command, and by hand."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from outlast_workers.local.ports import free_port
from outlast_workers.local.servers import TemporalServer
from temporalio.client import WorkflowExecutionStatus, WorkflowHandle

from bench.scripted_model_server import Request, ScriptedModelServer, Step
from outlast import Client
from outlast.client.runs import Run
from tests.acceptance.processes import ROOT, WorkerUnderTest
from tests.conftest import binary
from tests.long.site import ANSWER

NAME = "outlast"
FAST = (
    'matching.wv.VersionDrainageStatusVisibilityGracePeriod="1s"',
    'matching.wv.VersionDrainageStatusRefreshInterval="1s"',
    'matching.PollerHistoryTTL="75s"',
)
"""Temporal looks every three minutes whether a build is drained, and remembers pollers for five. With less
than a minute it forgets workers that poll, because a poll takes so long."""

QUICK = ("--hold=2", "--interval=0.2", "--poller-timeout=60", "--step-timeout=60")


class Command:
    """An `outlast worker …` in a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self.process = process
        self._log = log

    @property
    def progress(self) -> str:
        return self._log.read_text()

    async def says(self, text: str) -> None:
        async with asyncio.timeout(60):
            while text not in self.progress:
                assert self.process.returncode is None, self.progress
                await asyncio.sleep(0.05)

    async def ended(self) -> tuple[int, Any]:
        """Return the exit status and the JSON on stdout."""
        async with asyncio.timeout(120):
            output, _ = await self.process.communicate()
        assert self.process.returncode is not None
        return self.process.returncode, json.loads(output) if output.strip() else None


class Fleet:
    """A server, and worker processes of several builds, which serve the same task queues."""

    def __init__(
        self,
        temporal: TemporalServer,
        model_url: str,
        client: Client,
        folder: Path,
        stack: AsyncExitStack,
    ) -> None:
        self._address = temporal.address
        self._model_url = model_url
        self._folder = folder
        self._stack = stack
        self._count = 0
        self.client = client
        self.runs: list[Run[Any]] = []

    async def worker(self, build_id: str, **environment: str) -> WorkerUnderTest:
        worker = WorkerUnderTest(
            address=self._address,
            model_url=self._model_url,
            agents="tests.long.scaling.build_agents",
            log=self._folder / f"worker-{build_id}.log",
            drain_s=2,
            settings={
                "TEMPORAL_DEPLOYMENT_NAME": NAME,
                "TEMPORAL_WORKER_BUILD_ID": build_id,
                **environment,
            },
        )
        await worker.start()
        self._stack.push_async_callback(worker.terminate)
        return worker

    async def command(self, *words: str) -> Command:
        self._count += 1
        log = self._folder / f"command-{self._count}.log"
        with log.open("wb") as progress:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "outlast_workers", *words),
                env={**os.environ, "TEMPORAL_ADDRESS": self._address},
                cwd=ROOT,
                stdout=asyncio.subprocess.PIPE,
                stderr=progress,
            )
        return Command(process, log)

    async def promote(self, build_id: str, *options: str) -> Command:
        return await self.command("promote", build_id, "--json", *QUICK, *options)

    async def builds(self, *options: str) -> dict[str, dict[str, Any]]:
        _, listed = await (await self.command("builds", "--json", *options)).ended()
        return {row["build"]: row for row in listed["builds"]}

    async def cli(self, *words: str) -> str:
        """Run the stock CLI, as the docs show it, and return its output."""
        process = await asyncio.create_subprocess_exec(
            *(binary("temporal"), "worker", "deployment", *words),
            env={**os.environ, "TEMPORAL_ADDRESS": self._address},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await process.communicate()
        assert process.returncode == 0, output.decode()
        return output.decode()

    async def start(self, **options: Any) -> Run[Any]:
        run = await self.client.start("desk", "hello", **options)
        self.runs.append(run)
        return run

    @asynccontextmanager
    async def traffic(self) -> AsyncIterator[None]:
        """Start runs, one every 0.2 s."""

        async def goes_on() -> None:
            while True:
                await self.start()
                await asyncio.sleep(0.2)

        task = asyncio.create_task(goes_on())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def ended(self) -> dict[str, str]:
        """Wait until every run has ended, and return the build of each. None changed its build."""
        built: dict[str, str] = {}
        async with asyncio.timeout(60):
            for run in self.runs:
                handle = self.client.temporal.get_workflow_handle(run.id)
                while await is_running(handle):
                    await asyncio.sleep(0.1)
                history = await handle.fetch_history()
                versions = {
                    event.workflow_task_completed_event_attributes.deployment_version.build_id
                    for event in history.events
                    if event.HasField("workflow_task_completed_event_attributes")
                }
                assert len(versions) == 1, (run.id, versions)
                built[run.id] = versions.pop()
        return built


async def is_running(handle: WorkflowHandle[Any, Any]) -> bool:
    return (await handle.describe()).status is WorkflowExecutionStatus.RUNNING


def always_answers(request: Request) -> Step:
    return Step(ANSWER)


@asynccontextmanager
async def fleet(folder: Path) -> AsyncIterator[Fleet]:
    async with AsyncExitStack() as stack:
        temporal = TemporalServer(log_dir=folder, port=free_port(), dynamic_config=FAST)
        await stack.enter_async_context(temporal)
        model = await stack.enter_async_context(ScriptedModelServer(always_answers))
        client = await Client.connect(target_host=temporal.address)
        yield Fleet(temporal, model.url, client, folder, stack)


async def first_build(on: Fleet) -> WorkerUnderTest:
    worker = await on.worker("v1")
    command = await on.promote("v1")
    status, result = await command.ended()
    assert (status, result["outcome"]) == (0, "current"), command.progress
    return worker


def polls_alike(builds: dict[str, dict[str, Any]]) -> bool:
    """Return whether workers of v2 poll as many task queues as those of v1."""
    polled = [builds.get(build_id, {}).get("queues_polled", 0) for build_id in ("v1", "v2")]
    return bool(polled[0] == polled[1] > 0)


async def deleted(on: Fleet, build_id: str) -> None:
    """Delete a drained build; the server remembers its pollers for a while."""
    async with asyncio.timeout(120):
        while build_id in await on.builds("--delete-drained"):
            await asyncio.sleep(1)


@pytest.mark.timeout(300)
async def test_the_command_upgrades_and_goes_on_after_it_was_killed(tmp_path: Path) -> None:
    async with fleet(tmp_path) as on:
        old = await first_build(on)
        talk = await on.start(mode="conversation", id="talk")
        await talk.reply()
        async with on.traffic():
            options = ("--ramp=20,60", "--gate=desk=hi", "--min-runs=2", "--drain-timeout=60")
            first = await on.promote("v2", *options)
            await first.says("waiting for a worker of v2")
            await on.worker("v2")
            await first.says("20 % of new runs start on v2")
            first.process.send_signal(signal.SIGKILL)
            await first.process.wait()
            assert (await on.builds())["v2"]["status"] == "ramping"
            second = await on.promote("v2", *options)
            await second.says("v2 is current")
            assert (await on.builds())["v1"]["status"] == "draining"
        await talk.finish()
        status, result = await second.ended()
        assert (status, result["outcome"]) == (0, "current"), second.progress
        assert result["runs"]["failed"] == 0
        built = await on.ended()
        assert built["talk"] == "v1"
        assert set(built.values()) == {"v1", "v2"}
        assert await old.terminate() == 0
        await deleted(on, "v1")
        again = await on.promote("v2")
        assert (await again.ended())[0] == 0
        assert "v2 is current already" in again.progress


@pytest.mark.timeout(300)
async def test_a_build_whose_runs_fail_gets_no_more_of_them(tmp_path: Path) -> None:
    async with fleet(tmp_path) as on:
        await first_build(on)
        await on.worker("v2", BUILD_IS_BROKEN="1")
        gated = await on.promote("v2", "--gate=desk=hi")
        status, result = await gated.ended()
        assert (status, result["outcome"]) == (3, "gate")
        assert "this build is broken" in result["reason"]
        assert (await on.builds())["v2"]["status"] == "new", "no run of a user started on it"
        async with on.traffic():
            command = await on.promote("v2", "--ramp=50", "--hold=60", "--min-runs=20")
            status, result = await command.ended()
        assert (status, result["outcome"]) == (3, "failure_rate"), command.progress
        assert "Its ramp is 0 % now: new runs start on v1" in result["reason"]
        assert result["runs"]["failed"] >= 2
        assert await on.ended()
        after = await on.start()
        assert (await after.result()).output == "done"


@pytest.mark.timeout(300)
async def test_ctrl_c_leaves_the_ramp_and_says_so(tmp_path: Path) -> None:
    async with fleet(tmp_path) as on:
        await first_build(on)
        await on.worker("v2")
        for number in (signal.SIGINT, signal.SIGTERM):
            command = await on.promote("v2", "--ramp=20", "--hold=60", "--step-timeout=90")
            await command.says("20 % of new runs start on v2")
            command.process.send_signal(number)
            status, result = await command.ended()
            assert (status, result["outcome"]) == (130, "interrupted"), command.progress
            assert "20 % of new runs start on v2, the others on v1" in result["reason"]
        # Somebody else promotes another build.
        await on.worker("v3")
        other = await on.promote("v3")
        status, result = await other.ended()
        assert (status, result["outcome"]) == (3, "conflict")
        assert "build 'v2' is ramping at 20 %" in result["reason"]


@pytest.mark.timeout(300)
async def test_by_hand_a_build_is_promoted_and_rolled_back(tmp_path: Path) -> None:
    async with fleet(tmp_path) as on:
        await first_build(on)
        new = await on.worker("v2")
        named = ("--deployment-name", NAME, "--build-id")
        async with on.traffic():
            async with asyncio.timeout(60):
                while not polls_alike(await on.builds()):
                    await asyncio.sleep(0.5)
            await on.cli("set-ramping-version", *named, "v2", "--percentage", "50", "--yes")
            await asyncio.sleep(2)
            await on.cli("set-current-version", *named, "v2", "--yes")
            await asyncio.sleep(1)
            await on.cli("set-current-version", *named, "v1", "--yes")
            await asyncio.sleep(1)
        built = await on.ended()
        assert set(built.values()) == {"v1", "v2"}
        async with asyncio.timeout(60):
            while "drained" not in await on.cli("describe-version", *named, "v2"):
                await asyncio.sleep(0.5)
        assert await new.terminate() == 0


async def checked(on: Fleet, *options: str) -> tuple[int, Any, str]:
    """Run the check that the chart's hooks run, and return status, JSON and the line for people."""
    command = await on.command("builds", "--json", "--deployment", NAME, *options)
    status, result = await command.ended()
    return status, result["open_runs"], command.progress.strip()


@pytest.mark.timeout(300)
async def test_workers_of_open_runs_are_not_removed_and_one_build_replaces_another(
    tmp_path: Path,
) -> None:
    """As with `versioning.keep: false` of the chart: the workers of v1 go before v2 is current."""
    async with fleet(tmp_path) as on:
        status, counts, line = await checked(on, "--check")
        assert (status, counts) == (0, {}), "before the first install nothing is refused"
        old = await first_build(on)
        talk = await on.start(mode="conversation", id="talk")
        await talk.reply()
        upgrade = ("--except", "v2", "--otherwise", "set guard.enabled to false")
        status, counts, line = await checked(on, *upgrade)
        assert (status, counts) == (4, {"v1": 1})
        assert line.startswith("outlast: open runs need their workers (v1: 1). ")
        assert line.endswith("set guard.enabled to false")
        assert "\n" not in line
        assert (await checked(on, "--except", "v1"))[0] == 0, "a rollback to v1 keeps its runs"
        assert (await checked(on, "--check", "v1"))[:2] == (4, {"v1": 1})
        # New runs wait from here, so none starts between the check and the removal.
        await on.cli("set-current-version", "--deployment-name", NAME, "--unversioned", "--yes")
        await talk.finish()
        assert set((await on.ended()).values()) == {"v1"}
        async with asyncio.timeout(30):
            while (await checked(on, *upgrade))[0]:
                await asyncio.sleep(0.5)
        waiting = await on.start()
        assert (await checked(on, *upgrade))[:2] == (0, {}), "a run that waits belongs to no build"
        assert await old.terminate() == 0
        await on.worker("v2")
        status, result = await (await on.promote("v2")).ended()
        assert (status, result["outcome"]) == (0, "current")
        assert (await waiting.result()).output == "done"
        assert (await on.ended())[waiting.id] == "v2"
        async with asyncio.timeout(60):
            while (await on.builds())["v1"]["status"] != "drained":
                await asyncio.sleep(0.5)

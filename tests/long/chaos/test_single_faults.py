"""Single faults of real processes: each is the smallest sequence of events that once broke a promise."""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import uuid
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from signal import SIGCONT, SIGSTOP
from typing import Any

import pytest
from temporalio import workflow
from temporalio.api.common.v1 import Payload
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client as TemporalClient
from temporalio.client import (
    WorkflowHistory,
    WorkflowQueryFailedError,
    WorkflowUpdateFailedError,
)
from temporalio.common import RawValue
from temporalio.worker import Replayer, Worker

from bench.scripted_model_server import Request, Step
from outlast import (
    Agent,
    AgentResult,
    OutlastPlugin,
    RunFailed,
)
from outlast.testing import ScriptedModel, answer
from tests.acceptance.processes import ROOT
from tests.long.chaos.lab import call, ends, lab, until
from tests.stage import on_stage
from tests.workflows.test_builds import Builds

COMPLETED = EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED
SUGGEST_AFTER = "limit.historyCount.suggestContinueAsNew={}"


@pytest.mark.timeout(120)
async def test_a_run_with_a_large_transcript_goes_on_or_fails_by_name(tmp_path: Path) -> None:
    turns = [
        [
            {"tool": "read_noise", "arguments": {"ref": f"{turn}-{n}", "size": 250_000}}
            for n in range(8)
        ]
        for turn in range(3)
    ]
    async with lab(tmp_path, config=[SUGGEST_AFTER.format(40)]) as of:
        await of.worker()
        run = await of.start(*turns, limits={"max_turns": 40})
        ended = await ends(run, 60)
    assert isinstance(ended, AgentResult) or ended.cause_type == "RunTooLarge"


@pytest.mark.timeout(120)
async def test_a_message_that_is_sent_again_after_continue_as_new_counts_once(
    temporal: TemporalClient,
) -> None:
    async with AsyncExitStack() as first, AsyncExitStack() as second:
        builds = Builds(temporal, first)
        old = await builds.serve("v1")
        chat = f"chat-{uuid.uuid4().hex[:8]}"
        options: dict[str, Any] = {"agent": "desk", "task_queue": old.task_queue}
        await old.client.chat(chat, "hello", update_id="k", **options)
        builds._stack = second
        await builds.serve("v2")
        await second.aclose()  # the build is current, and its worker is away
        handle = temporal.get_workflow_handle(chat)

        async def goes_on() -> bool:
            described = (await handle.describe()).raw_description.workflow_execution_info
            if described.first_run_id != described.execution.run_id:
                return True
            # The run is told of a newer build with one of its next tasks.
            await handle.signal("say", {"text": "go on"})
            return False

        await until(goes_on)
        again = asyncio.create_task(old.client.chat(chat, "hello", update_id="k", **options))
        await asyncio.sleep(1)
        third = await first.enter_async_context(AsyncExitStack())
        builds._stack = third
        await builds.serve("v2")
        await asyncio.wait_for(again, 60)
        said = [entry.content for entry in await old.client.get(chat).transcript()]
        await old.client.get(chat).finish()
        await old.client.get(chat).result()
        assert said.count("hello") == 1


@pytest.mark.timeout(120)
async def test_a_frozen_worker_that_wakes_up_does_not_repeat_an_effect(
    tmp_path: Path,
) -> None:
    async with lab(tmp_path) as of:
        await of.worker("workflows,generate")
        frozen = await of.worker("tools")
        run = await of.start([call("transfer", before_s=3)])
        await of.scheduled(run, "1.1")
        await asyncio.sleep(1)
        frozen.send(SIGSTOP)
        ended = None
        try:
            await of.worker("tools")
            # The server may give later tasks to the polls of the frozen worker, too: each is lost again.
            with contextlib.suppress(TimeoutError):
                ended = await ends(run)
            made = of.arrivals()
        finally:
            frozen.send(SIGCONT)
        await asyncio.sleep(5)
        if ended is not None:
            assert isinstance(ended, AgentResult)
            assert of.arrivals() == made != []
        assert len(of.arrivals()) - len(made) <= 1


STARTS: Mapping[str, tuple[list[str], dict[str, str]]] = {
    "state is a file": (["dev", "--state", "{file}"], {}),
    "no such port": (["dev", "--port", "99999"], {}),
    "no address": (["run"], {"TEMPORAL_ADDRESS": "not an address"}),
    "no such model port": (["run"], {"OUTLAST_MODEL__URL": "http://127.0.0.1:99999/v1"}),
    "endless drain": (["run"], {"OUTLAST_DRAIN_S": "inf"}),
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("case", STARTS)
def test_a_start_that_cannot_succeed_says_so_in_one_line(tmp_path: Path, case: str) -> None:
    arguments, environment = STARTS[case]
    (tmp_path / "file").write_text("")
    command = [one.format(file=tmp_path / "file") for one in arguments]
    settings = {
        "OUTLAST_MODEL__URL": "http://127.0.0.1:9/v1",
        "OUTLAST_MODEL__START_WITHIN_S": "1",
        "TEMPORAL_ADDRESS": "127.0.0.1:9",
        **environment,
    }
    ended = subprocess.run(
        [sys.executable, "-m", "outlast_workers", *command],
        cwd=ROOT,
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        timeout=45,
        check=False,
    )
    output = ended.stdout + ended.stderr
    assert ended.returncode != 0
    assert "Traceback" not in output, output[-2_000:]


@pytest.mark.timeout(120)
@pytest.mark.parametrize("shape", ["answer", "decision"])
async def test_an_answer_that_is_too_large_is_not_bought_again_and_again(
    tmp_path: Path, shape: str
) -> None:
    long = [call("look", "x" * 300_000)] * 8
    body = (
        answer({"text": "x" * 2_500_000, "turns": 1}) if shape == "answer" else {"tool_calls": long}
    )

    def large(_request: Request) -> Step:
        return Step(json.dumps(body))

    async with lab(tmp_path, script=large) as of:
        await of.worker()
        run = await of.start(limits={"max_turns": 3})
        ended = await ends(run, 45)
        assert isinstance(ended, RunFailed)
        assert ended.cause_type.startswith("Model")
        assert of.model.answered <= 6


@pytest.mark.timeout(60)
async def test_the_name_of_an_encoding_is_cut_in_a_rejection(
    temporal: TemporalClient,
) -> None:
    payload = Payload(metadata={"encoding": b"x" * 5_000}, data=b"{}")
    plain = Agent(name="plain", instructions="Answer.")
    async with on_stage(temporal, ScriptedModel([]), [plain]) as stage:
        run = await stage.start("plain", None, mode="conversation")
        handle = temporal.get_workflow_handle(run.id)
        with pytest.raises(WorkflowUpdateFailedError) as refused:
            await handle.execute_update("say", RawValue(payload))
        await run.finish()
        await run.result()
    assert len(str(refused.value.cause)) < 1_000


@workflow.defn(name="Counter", sandboxed=False)
class CounterWorkflow:
    """Has a state that a timer and updates change."""

    def __init__(self) -> None:
        self.count = 0
        self.is_over = False

    @workflow.run
    async def run(self) -> int:
        await workflow.sleep(2)
        await workflow.sleep(0.01)
        await workflow.wait_condition(lambda: self.is_over)
        return self.count

    @workflow.update
    async def add(self) -> int:
        self.count += 1
        return self.count

    @workflow.signal
    def end(self) -> None:
        self.is_over = True

    @workflow.query
    def current(self) -> int:
        return self.count


@pytest.mark.timeout(60)
async def test_a_query_does_not_change_the_order_of_events(temporal: TemporalClient) -> None:
    """A worker takes a run over: a query waits, a timer has fired, and an update arrives."""

    async def play() -> WorkflowHistory:
        queue = uuid.uuid4().hex
        async with Worker(temporal, task_queue=queue, workflows=[CounterWorkflow]):
            handle = await temporal.start_workflow(
                CounterWorkflow.run, id=f"counter-{queue}", task_queue=queue
            )
            await asyncio.sleep(0.5)
        asked = asyncio.create_task(handle.query(CounterWorkflow.current))
        await asyncio.sleep(2)
        added = asyncio.create_task(handle.execute_update(CounterWorkflow.add))
        await asyncio.sleep(0.3)
        async with Worker(temporal, task_queue=queue, workflows=[CounterWorkflow]):
            assert await added == 1
            with contextlib.suppress(WorkflowQueryFailedError):
                await asked
            await handle.signal(CounterWorkflow.end)
            assert await handle.result() == 1
        return await handle.fetch_history()

    replayer = Replayer(workflows=[CounterWorkflow], plugins=[OutlastPlugin()])
    for history in await asyncio.gather(*(play() for _ in range(6))):
        await replayer.replay_workflow(history)

"""Idempotency keys over resets and chains, expiry on a worker that replays, and messages at the end."""

import asyncio
import threading
import uuid
from typing import Literal

import pytest
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.client import Client

from outlast import Agent, Approval, BadRequest, RunFailed, ToolContext, tool
from outlast.model_server import Prompt
from outlast.testing import ScriptedModel, answer, call, calls
from tests.stage import on_stage, pending, staged_settings

KEYS: list[str] = []
UNDO_KEYS: list[str] = []
PAID: list[str] = []
GO_ON = threading.Event()
WAITS = threading.Event()


@pytest.fixture(autouse=True)
def _fresh() -> None:
    for record in (KEYS, UNDO_KEYS, PAID):
        record.clear()
    GO_ON.clear()
    WAITS.clear()


@tool(effect="idempotent")
def unwrite(context: ToolContext, ref: str) -> None:
    """Undo."""
    UNDO_KEYS.append(context.idempotency_key)


@tool(effect="write", compensate=unwrite)
def write(context: ToolContext, ref: str) -> str:
    """Write."""
    KEYS.append(context.idempotency_key)
    return ref


@tool(effect="read")
def read(n: int) -> str:
    """Read."""
    return "x" * 1_000


@tool(effect="write")
def decline(ref: str) -> str:
    """Fail."""
    raise ValueError("declined")


@tool(effect="irreversible", approval=Approval(audience="leads", expires_s=1))
def flash(ref: str) -> str:
    """Pay, if a person approves within seconds."""
    PAID.append(ref)
    return ref


@tool(effect="irreversible", approval=Approval(audience="leads"))
def pay(ref: str) -> str:
    """Pay."""
    PAID.append(ref)
    return ref


@tool(effect="read")
def wait() -> str:
    """Wait for the test."""
    WAITS.set()
    GO_ON.wait(20)
    return "waited"


doer = Agent(name="doer", instructions="Do.", tools=[write, read, decline, flash, pay, wait])


async def test_a_compensation_has_the_key_of_its_call_after_continue_as_new(
    impatient: Client, cached: int
) -> None:
    reads = [call("read", n=n) for n in range(20)]
    model = ScriptedModel([call("write", ref="w"), *reads, call("decline", ref="d")])
    async with on_stage(
        impatient, model, [doer], cached=cached, has_search_attributes=False
    ) as stage:
        run = await stage.start("doer", limits={"max_turns": 40})
        with pytest.raises(RunFailed, match="declined"):
            await run.result()
        assert len(await stage.chain(run)) >= 2
    assert KEYS == UNDO_KEYS == [f"{run.id}/{run.first_execution_run_id}/1.1"]


async def test_a_call_has_the_same_key_after_a_reset(temporal: Client) -> None:
    model = ScriptedModel([call("write", ref="w"), answer("done")], repeat_last=True)
    async with on_stage(temporal, model, [doer]) as stage:
        run = await stage.start("doer")
        await run.result()
        handle = temporal.get_workflow_handle(run.id)
        (scheduled,) = [
            event.activity_task_scheduled_event_attributes
            for event in (await handle.fetch_history()).events
            if event.activity_task_scheduled_event_attributes.activity_type.name == "write"
        ]
        described = await handle.describe()
        request = ResetWorkflowExecutionRequest(
            namespace=temporal.namespace,
            workflow_execution=WorkflowExecution(workflow_id=run.id, run_id=described.run_id),
            reason="test",
            workflow_task_finish_event_id=scheduled.workflow_task_completed_event_id,
            request_id=str(uuid.uuid4()),
        )
        await temporal.workflow_service.reset_workflow_execution(request)
        await temporal.get_workflow_handle(run.id).result()
    assert len(KEYS) == 2
    assert len(set(KEYS)) == 1


async def test_each_run_of_a_cron_schedule_has_keys_of_its_own(temporal: Client) -> None:
    model = ScriptedModel(
        [call("write", ref="w"), answer("a"), call("write", ref="w"), answer("b")]
    )
    async with on_stage(temporal, model, [doer]) as stage:
        run_id = f"cron-{uuid.uuid4().hex[:8]}"
        await temporal.start_workflow(
            "AgentWorkflow",
            {"agent": "doer", "input": "go"},
            id=run_id,
            task_queue=stage.task_queue,
            cron_schedule="@every 1s",
        )
        async with asyncio.timeout(40):
            while len(KEYS) < 2:
                await asyncio.sleep(0.1)
        await temporal.get_workflow_handle(run_id).terminate()
    assert len(set(KEYS)) == 2


@pytest.mark.parametrize("other", ["approved", "left"])
async def test_what_has_expired_is_not_approved_on_a_worker_that_replays(
    temporal: Client, other: str
) -> None:
    batch = calls(
        call("flash", ref="late"), call("pay", ref="paid"), call("read", n=1), call("read", n=2)
    )
    settings = staged_settings(cached=1000)
    async with on_stage(temporal, ScriptedModel([batch]), [doer], settings=settings) as stage:
        run = await stage.start("doer")
        await pending(run)
        async with asyncio.timeout(40):
            while [each.request_id for each in await run.pending_requests()] != ["1.2"]:
                await asyncio.sleep(0.1)
    # The next worker does not have the run in its cache.
    async with on_stage(
        temporal, ScriptedModel([answer("done")]), [doer], settings=settings
    ) as stage:
        again = stage.started(run.id)
        if other == "approved":
            await again.approve("1.2", by="ann")
        with pytest.raises(BadRequest, match=r"1\.1.*expired"):
            await again.approve("1.1", by="ann")
        if other == "left":
            await again.approve("1.2", by="ann")
        result = await asyncio.wait_for(again.result(), 40)
    assert result.output == "done"
    assert PAID == ["paid"]


@pytest.mark.parametrize("when", ["next_turn", "now"])
async def test_a_message_on_the_last_turn_is_rejected(
    temporal: Client, when: Literal["next_turn", "now"], cached: int
) -> None:
    is_prompted, goes_on = asyncio.Event(), asyncio.Event()

    async def slowly(_: Prompt) -> object:
        is_prompted.set()
        await goes_on.wait()
        return answer("done")

    async with on_stage(temporal, ScriptedModel([slowly]), [doer], cached=cached) as stage:
        run = await stage.start("doer", limits={"max_turns": 1})
        await asyncio.wait_for(is_prompted.wait(), 40)
        with pytest.raises(BadRequest, match="takes its last turn"):
            await run.say("wait", when=when)
        await temporal.get_workflow_handle(run.id).signal("say", {"text": "wait", "when": when})
        goes_on.set()
        result = await run.result()
    assert (result.output, result.unread_messages) == ("done", 0)


async def test_messages_that_nobody_read_are_counted(temporal: Client, cached: int) -> None:
    model = ScriptedModel([call("wait")])
    async with on_stage(temporal, model, [doer], cached=cached) as stage:
        run = await stage.start("doer")
        async with asyncio.timeout(40):
            while not WAITS.is_set():
                await asyncio.sleep(0.05)
        await run.say("first")
        await run.say("second")
        await run.cancel()
        GO_ON.set()
        result = await run.result()
        texts = [entry.content for entry in await run.transcript()]
    assert result.unread_messages == 2
    assert texts[-2:] == ["first", "second"]

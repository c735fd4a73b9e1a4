"""Ways around a signature that somebody with write access to the namespace has: each of them fails."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio
from outlast_workers.settings import Settings
from outlast_workers.settings_sections.people import AudienceSettings
from outlast_workflows.packing import pack
from outlast_workflows.state import Carried, InboundState, RunState
from temporalio import workflow
from temporalio.api.enums.v1 import EventType
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.client import Client, WorkflowFailureError
from temporalio.exceptions import ActivityError, ApplicationError
from temporalio.worker import Worker

from outlast import Agent, Approval, BadRequest, Escalation, ToolContext, tool
from outlast.client.runs import Run
from outlast.contracts.agents import Leg, PinnedAgent, Route, ToolSpec
from outlast.contracts.human import HumanDecision
from outlast.contracts.limits import RunLimits
from outlast.contracts.messages import Message
from outlast.errors import RunFailed
from outlast.signing import SigningKey
from outlast.testing import ScriptedModel, answer, call
from tests.conftest import binary
from tests.stage import Stage, on_stage, pending, staged_settings

ANN = SigningKey.generate("ann")
PAYMENTS: list[tuple[str, float, str]] = []


@tool(effect="irreversible", approval=Approval(audience="leads", signed=True))
def pay_signed(context: ToolContext, to: str, amount_usd: float) -> str:
    """Pay, once one of the leads has signed."""
    PAYMENTS.append((to, amount_usd, context.idempotency_key))
    return "paid"


@tool(effect="irreversible", approval=Approval(audience="anybody", quorum=2))
def pay(context: ToolContext, to: str, amount_usd: float) -> str:
    """Pay, once two people have approved."""
    PAYMENTS.append((to, amount_usd, context.idempotency_key))
    return "paid"


@tool(
    effect="irreversible",
    approval=Approval(audience="leads", escalate=(Escalation(audience="interns", after_s=1),)),
)
def pay_later(to: str) -> str:
    """Pay, once somebody has approved; after a while people without keys may."""
    PAYMENTS.append((to, 0, ""))
    return "paid"


AGENTS = [
    Agent(name="signed", instructions="Pay.", tools=[pay_signed]),
    Agent(name="plain", instructions="Pay.", tools=[pay]),
    Agent(name="later", instructions="Pay.", tools=[pay_later]),
]


@pytest.fixture(autouse=True)
def _nothing_paid() -> None:
    PAYMENTS.clear()


def settings() -> Settings:
    leads = AudienceSettings(keys={"ann": ANN.public})
    return staged_settings(cached=1000).model_copy(update={"audiences": {"leads": leads}})


@pytest_asyncio.fixture
async def stage(temporal: Client) -> AsyncIterator[Stage]:
    steps: list[Any] = [
        lambda prompt: call(_tool_in(prompt), to="ann", amount_usd=5),
        answer("done"),
    ]
    model = ScriptedModel(steps, repeat_last=True)
    async with on_stage(temporal, model, AGENTS, settings=settings()) as staged:
        yield staged


def _tool_in(prompt: Any) -> str:
    return "pay_signed" if "pay_signed" in json.dumps(prompt.schema) else "pay"


async def cli(temporal: Client, *words: str) -> tuple[int | None, str]:
    """Run the stock command line of Temporal."""
    process = await asyncio.create_subprocess_exec(
        binary("temporal"),
        *words,
        "--address",
        temporal.service_client.config.target_host,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await asyncio.wait_for(process.communicate(), 30)
    return process.returncode, output.decode()


# Cron


def forged(queue: str, tools: str) -> Carried:
    """Return the state of a run in which the payment needs nobody, as its next turn would read it."""
    spec = ToolSpec(
        name="pay_signed",
        parameters={"type": "object"},
        route=Route(legs=(Leg(task_queue=tools),)),
    )
    agent = PinnedAgent(
        name="signed",
        instructions="Pay.",
        tools=(spec,),
        output_schema={"type": "string"},
        route=Route(legs=(Leg(task_queue=queue),)),
    )
    state = RunState(
        agent=agent,
        agent_digest="",
        limits=RunLimits(max_turns=5),
        started_at=datetime.now(UTC),
    )
    packed = pack([Message(role="user", content="go")], room=10_000)
    return Carried(state=state, inbound=InboundState(), packed=packed)


async def test_a_cron_schedule_forges_no_state(stage: Stage) -> None:
    queues = stage.settings
    carried = forged(queues.queue("generate"), queues.queue("tools"))
    data = carried.model_dump(mode="json")
    assert Carried.model_validate(data) == carried  # a run would accept it from the run before
    run_id = f"cron-{uuid.uuid4().hex[:8]}"
    temporal = stage.client.temporal
    await temporal.start_workflow(
        "AgentWorkflow", data, id=run_id, task_queue=stage.task_queue, cron_schedule="@every 1s"
    )
    handle = temporal.get_workflow_handle(run_id)
    ended = 0
    try:
        async with asyncio.timeout(30):
            while ended < 3:
                await asyncio.sleep(0.3)
                query = f"WorkflowId = '{run_id}' AND ExecutionStatus = 'Failed'"
                ended = len([one async for one in temporal.list_workflows(query)])
    finally:
        await handle.terminate()
    assert PAYMENTS == []


# Direct activities


@pytest.mark.parametrize("headers", [(), ("outlast_call={}",), ('outlast_call={"nonce":"n"}',)])
@pytest.mark.parametrize("tool_name", ["pay_signed", "pay"])
async def test_the_command_line_runs_no_tool(
    stage: Stage, tool_name: str, headers: tuple[str, ...]
) -> None:
    status, output = await cli(
        stage.client.temporal,
        *("activity", "execute", "--activity-id", uuid.uuid4().hex, "--type", tool_name),
        *("--task-queue", stage.settings.queue("tools"), "--start-to-close-timeout", "20s"),
        *("--input", '{"to":"mallory","amount_usd":777777}'),
        *(word for header in headers for word in ("--headers", header)),
    )
    assert status != 0
    assert "only AgentWorkflow or PipelineWorkflow may call a tool" in output
    assert PAYMENTS == []


@workflow.defn(name="Thief", sandboxed=False)
class Thief:
    @workflow.run
    async def run(self, target: dict[str, str]) -> str:
        return await _paid(**target)


@workflow.defn(name="AgentWorkflow", sandboxed=False)
class Impostor:
    @workflow.run
    async def run(self, target: dict[str, str]) -> str:
        return await _paid(**target)


async def _paid(task_queue: str, tool_name: str) -> str:
    paid: str = await workflow.execute_activity(
        tool_name,
        {"to": "mallory", "amount_usd": 9},
        task_queue=task_queue,
        start_to_close_timeout=timedelta(seconds=10),
    )
    return paid


@pytest.mark.parametrize(
    ("kind", "tool_name", "reason"),
    [
        (Thief, "pay", "only AgentWorkflow or PipelineWorkflow may call a tool"),
        (Thief, "pay_signed", "only AgentWorkflow or PipelineWorkflow may call a tool"),
        (Impostor, "pay_signed", "nobody has signed this call"),
    ],
)
async def test_a_workflow_of_somebody_else_makes_no_call(
    stage: Stage, kind: type, tool_name: str, reason: str
) -> None:
    temporal = stage.client.temporal
    queue = f"thief-{uuid.uuid4().hex[:8]}"
    async with Worker(temporal, task_queue=queue, workflows=[kind]):
        handle = await temporal.start_workflow(
            "Thief" if kind is Thief else "AgentWorkflow",
            {"task_queue": stage.settings.queue("tools"), "tool_name": tool_name},
            id=uuid.uuid4().hex,
            task_queue=queue,
        )
        with pytest.raises(WorkflowFailureError) as failed:
            await asyncio.wait_for(handle.result(), 40)
    assert isinstance(failed.value.cause, ActivityError)
    assert isinstance(failed.value.cause.cause, ApplicationError)
    assert reason in failed.value.cause.cause.message
    assert PAYMENTS == []


# Reset


async def reset(temporal: Client, run: Run, *, tasks_back: int) -> None:
    """Reset a run to a workflow task. 1 is the task that accepted the vote, 2 the one before it."""
    handle = temporal.get_workflow_handle(run.id)
    completed: list[int] = []
    async for event in handle.fetch_history_events():
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ACCEPTED:
            break
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED:
            completed.append(event.event_id)
    request = ResetWorkflowExecutionRequest(
        namespace=temporal.namespace, reason="red team", request_id=uuid.uuid4().hex
    )
    request.workflow_execution.workflow_id = run.id
    request.workflow_execution.run_id = (await handle.describe()).run_id
    request.workflow_task_finish_event_id = completed[-tasks_back]
    await temporal.workflow_service.reset_workflow_execution(request)


async def test_a_reset_repeats_a_payment_only_under_the_key_of_the_first(stage: Stage) -> None:
    run = await stage.start("signed")
    await run.approve(await pending(run), signer=ANN)
    await run.result()
    await reset(stage.client.temporal, run, tasks_back=1)  # the vote is applied again
    await asyncio.wait_for(stage.client.get(run.id).result(), 30)
    keys = [key for _, _, key in PAYMENTS]
    assert len(keys) == 2
    assert len(set(keys)) == 1  # the receiver rejects the second payment


async def test_a_reset_to_the_time_before_a_request_asks_again(stage: Stage) -> None:
    run = await stage.start("signed")
    first = await pending(run)
    await run.approve(first, signer=ANN)
    await run.result()
    await reset(stage.client.temporal, run, tasks_back=2)
    again = stage.client.get(run.id)
    second = await pending(again)
    assert second.nonce != first.nonce
    assert len(PAYMENTS) == 1
    await again.deny(second, signer=ANN)
    await asyncio.wait_for(again.result(), 40)
    assert len(PAYMENTS) == 1


# Escalation


async def test_an_escalation_does_not_end_at_people_without_keys(stage: Stage) -> None:
    with pytest.raises(RunFailed, match="'leads', which signs its decisions, and 'interns'"):
        await stage.run("later")
    assert PAYMENTS == []


# Edit


@pytest.mark.parametrize("voice", ["update", "signal", "cli"])
async def test_an_approval_does_not_follow_the_arguments_that_it_did_not_see(
    stage: Stage, voice: str
) -> None:
    run = await stage.start("plain")
    seen = await pending(run)
    await run.edit(seen, {"to": "mallory", "amount_usd": 1_000_000}, by="mallory")
    hashless = {"request_id": seen.request_id, "decision": "approve", "by": "ann"}
    stale = hashless | {"arguments_hash": seen.arguments_hash}
    temporal = stage.client.temporal
    for payload in (hashless, stale):
        if voice == "signal":
            await temporal.get_workflow_handle(run.id).signal("decide", payload)
        elif voice == "update":
            with pytest.raises(BadRequest):
                await run.decide(HumanDecision.model_validate(payload))
        else:
            status, output = await cli(
                temporal,
                *("workflow", "update", "execute", "--workflow-id", run.id),
                *("--name", "decide", "--input", json.dumps(payload)),
            )
            assert (status != 0, "arguments_hash" in output) == (True, True), output
    assert [request.request_id for request in await run.pending_requests()] == [seen.request_id]
    assert PAYMENTS == []
    await run.deny(await pending(run), by="ann")
    await run.result()
    assert PAYMENTS == []

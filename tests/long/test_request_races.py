"""Decisions that race with expiry, edits, limits, resets and ends of a run."""

import asyncio
from typing import Any

import pytest
from outlast_workflows import agent as agent_module
from outlast_workflows.people.conversation import Replies
from outlast_workflows.run import AgentRun
from outlast_workflows.state import InboundState, RunState
from pydantic import JsonValue
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.client import Client
from temporalio.worker import _workflow
from temporalio.worker._workflow_instance import _WorkflowLogicFlag

from outlast import (
    Agent,
    Approval,
    BadRequest,
    DefinitionError,
    ToolSpec,
    arguments,
    ask_human,
    tool,
)
from outlast.client.runs import Run
from outlast.contracts.human import PendingRequest
from outlast.testing import ScriptedModel, answer, call
from tests.long.refunds import ASKED, EDITED, REFUND, WIRE, made, make
from tests.stage import Stage, on_stage, pending, staged_settings


@pytest.fixture(autouse=True)
def _nothing_made() -> None:
    made.clear()


def with_refund(approval: Approval, *, max_calls: int | None = None) -> Agent:
    @tool(effect="irreversible", approval=approval, max_calls=max_calls, name="refund")
    def pay(order_id: str, usd: float) -> str:
        """Refund an order."""
        return make(order_id, usd)

    return Agent(name="desk", instructions="Refund.", tools=[pay])


def refunds(*amounts: float) -> ScriptedModel:
    calls = [call("refund", order_id="42", usd=usd) for usd in amounts]
    return ScriptedModel([*calls, answer("done")])


def amounts_made() -> list[JsonValue]:
    return [values["usd"] for _, _, values in made]


@pytest.mark.parametrize("in_one_batch", [False, True], ids=["by_kind", "in_one_batch"])
async def test_a_decision_in_the_same_workflow_task_as_the_expiry_stands(
    temporal: Client, monkeypatch: pytest.MonkeyPatch, in_one_batch: bool
) -> None:
    # The SDK will come to apply all that arrives in a workflow task before any of it is acted on.
    flags = {_WorkflowLogicFlag.PROCESS_WORKFLOW_ACTIVATION_JOBS_AS_SINGLE_BATCH}
    if in_one_batch:
        name = "_DEFAULT_ENABLED_WORKFLOW_LOGIC_FLAGS"
        monkeypatch.setattr(_workflow, name, frozenset(flags))
    desk = with_refund(Approval(audience="leads", expires_s=1))
    own, model = staged_settings(cached=0), refunds(80)
    async with on_stage(temporal, model, [desk], settings=own) as stage:
        run = await stage.start("desk")
        await pending(run)
    await asyncio.sleep(1.5)
    handle = temporal.get_workflow_handle(run.id)
    await handle.signal("decide", {"request_id": "1.1", "decision": "approve", "by": "ann"})
    async with on_stage(temporal, model, [desk], settings=own):
        (settled,) = (await run.result()).decisions
    await stage.replay()
    assert (settled.outcome, settled.by) == ("approved", "ann")
    assert amounts_made() == [80]


async def test_an_edited_call_that_expires_is_not_made_even_if_expiry_approves(
    skipping: Client,
) -> None:
    async with on_stage(
        skipping, refunds(80.0), [desk_that_wires], has_search_attributes=False
    ) as stage:
        run = await stage.start("desk")
        await run.edit(await pending(run), EDITED, by="ann")
        (settled,) = (await run.result()).decisions
    assert (settled.outcome, settled.edited_by) == ("expired", "ann")
    assert amounts_made() == []


desk_that_wires = with_refund(WIRE)


async def test_edits_are_not_kept_once_they_are_made(temporal: Client, cached: int) -> None:
    seen: list[InboundState] = []

    class SeenRun(AgentRun):
        def __init__(self, state: RunState, inbound: InboundState, replies: Replies) -> None:
            super().__init__(state, inbound, replies)
            seen.append(inbound)

    desk = with_refund(Approval(audience="leads"))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(agent_module, "AgentRun", SeenRun)
        async with on_stage(temporal, refunds(80, 70, 60), [desk], cached=cached) as stage:
            run = await stage.start("desk")
            for turn in (1, 2):
                await run.edit(await until_pending(run, f"{turn}.1"), EDITED, by="ann")
            await run.deny(await until_pending(run, "3.1"), by="ann")
            await run.result()
    assert seen
    assert [(one.edits, one.answers, one.pending) for one in seen] == [({}, {}, {})] * len(seen)
    assert amounts_made() == [9, 9]


async def until_pending(run: Run, request_id: str) -> PendingRequest:
    async with asyncio.timeout(30):
        while (request := await pending(run)).request_id != request_id:
            await asyncio.sleep(0.05)
    return request


async def test_an_edit_counts_as_the_one_call_that_a_tool_admits(temporal: Client) -> None:
    once = Approval(audience="leads", when=arguments.usd > 50)
    async with on_stage(temporal, refunds(80), [with_refund(once, max_calls=1)]) as stage:
        run = await stage.start("desk")
        # The condition does not hold for the new arguments: who edits has looked all the same.
        await run.edit(await pending(run), EDITED, by="ann")
        result = await run.result()
    assert (result.tool_calls, result.decisions[0].outcome) == (1, "approved")
    assert amounts_made() == [9]


async def test_a_hundred_signals_at_once_are_as_many_voices(temporal: Client, cached: int) -> None:
    many = Approval(audience="leads", quorum=20)
    async with on_stage(temporal, refunds(80), [with_refund(many)], cached=cached) as stage:
        run = await stage.start("desk")
        await pending(run)
        handle = temporal.get_workflow_handle(run.id)
        voice = {"request_id": "1.1", "decision": "approve", "comment": "x" * 2_000}
        every = (handle.signal("decide", {**voice, "by": f"{n % 50}"}) for n in range(100))
        await asyncio.gather(*every)
        (settled,) = (await run.result()).decisions
    assert len(set(settled.approved_by)) == 20
    assert amounts_made() == [80]


async def test_a_decision_before_anything_is_asked_counts_for_nothing(temporal: Client) -> None:
    async with on_stage(temporal, refunds(80), [with_refund(REFUND)]) as stage:
        run = await stage.start("desk")
        handle = temporal.get_workflow_handle(run.id)
        await handle.signal("decide", {"request_id": "1.1", "decision": "approve", "by": "ann"})
        assert (await pending(run)).approved_by == []
        await run.deny("1.1", by="bo")
        await run.result()
    assert made == []


@pytest.mark.parametrize("limits", [{}, {"deadline_s": 2}], ids=["cancelled", "deadline"])
async def test_a_run_that_ends_while_it_waits_makes_no_call(
    temporal: Client, cached: int, limits: dict[str, Any]
) -> None:
    async with on_stage(temporal, refunds(80), [with_refund(WIRE)], cached=cached) as stage:
        run = await stage.start("desk", limits=limits)
        await run.edit(await pending(run), EDITED, by="ann")
        if not limits:
            await run.cancel()
        result = await run.result()
        with pytest.raises(BadRequest, match="has ended"):
            await run.approve("1.1", by="bo")
    assert (result.status, result.decisions) == ("stopped", [])
    assert result.stop_reason == ("deadline" if limits else "cancelled")
    assert made == []


async def test_a_decision_of_an_earlier_turn_is_not_one_of_this(temporal: Client) -> None:
    async with on_stage(temporal, refunds(80, 70), [with_refund(REFUND)]) as stage:
        run = await stage.start("desk")
        first = await pending(run)
        await run.deny(first, by="ann")
        await until_pending(run, "2.1")
        with pytest.raises(BadRequest, match="already denied by 'ann'"):
            await run.approve(first, by="bo")
        assert (await pending(run)).approved_by == []
        await run.deny("2.1")
        await run.result()
    assert made == []


async def test_a_decision_about_earlier_arguments_is_rejected_after_a_reset(
    temporal: Client,
) -> None:
    model = ScriptedModel(
        [call("refund", **ASKED), answer("done"), call("refund", **EDITED), answer("done")]
    )
    async with on_stage(temporal, model, [with_refund(REFUND)]) as stage:
        run = await stage.start("desk")
        seen = await pending(run)
        await run.approve(seen, by="ann")
        await run.result()
        await reset_before_the_first_turn(temporal, run)
        again = stage.client.get(run.id)
        async with asyncio.timeout(30):
            while (await pending(again)).arguments == ASKED:
                await asyncio.sleep(0.05)
        with pytest.raises(BadRequest, match="have changed"):
            await again.approve(seen, by="ann")
        await again.deny("1.1", by="ann")
        assert (await again.result()).decisions[0].outcome == "denied"
    assert amounts_made() == [80]


async def reset_before_the_first_turn(temporal: Client, run: Run) -> None:
    history = await temporal.get_workflow_handle(run.id).fetch_history()
    scheduled = next(
        event.event_id
        for event in history.events
        if event.activity_task_scheduled_event_attributes.activity_type.name == "generate"
    )
    completed = [
        event.event_id
        for event in history.events
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED
    ]
    await temporal.workflow_service.reset_workflow_execution(
        ResetWorkflowExecutionRequest(
            namespace=temporal.namespace,
            workflow_execution=WorkflowExecution(workflow_id=run.id),
            reason="another try",
            workflow_task_finish_event_id=max(one for one in completed if one < scheduled),
            request_id=run.id,
        )
    )


async def child_of(stage: Stage, run: Run) -> Run:
    """Return the run of the agent that a run has called; its id has a random part."""
    async with asyncio.timeout(30):
        while True:
            (history,) = await stage.chain(run)
            for event in history.events:
                started = event.start_child_workflow_execution_initiated_event_attributes
                if started.workflow_id:
                    return stage.client.get(started.workflow_id)
            await asyncio.sleep(0.1)


async def test_an_agent_that_is_a_tool_waits_on_its_own(temporal: Client, cached: int) -> None:
    parent = Agent(name="parent", instructions="Delegate.", tools=[with_refund(REFUND)])
    model = ScriptedModel(
        [call("desk", input="go"), call("refund", **ASKED), answer("paid"), answer("all done")]
    )
    async with on_stage(temporal, model, [parent], cached=cached) as stage:
        run = await stage.start("parent")
        child = await child_of(stage, run)
        await child.approve(await pending(child), by="ann")
        assert (await run.result()).output == "all done"
    assert amounts_made() == [80]


async def test_a_question_by_its_name_in_a_spec_is_asked_and_is_not_edited(
    temporal: Client,
) -> None:
    asker = Agent(name="asker", instructions="Ask.", tools=[ask_human()])
    model = ScriptedModel([call("ask_human", question="a?"), answer("ok")])
    async with on_stage(temporal, model, [asker]) as stage:
        run = await stage.start(spec={"instructions": "Ask.", "tools": ["ask_human"]})
        request = await pending(run)
        with pytest.raises(BadRequest, match="is a question"):
            await run.edit(request, {"question": "b?"}, by="ann")
        await run.answer(request, "yes", by="ann")
        assert (await run.result()).output == "ok"


async def test_values_that_no_run_could_carry_are_refused_and_end_nothing(
    temporal: Client, cached: int
) -> None:
    asker = Agent(name="asker", instructions="Ask.", tools=[ask_human(object)])
    model = ScriptedModel([call("ask_human", question="a?"), answer("ok")])
    deep: JsonValue = 1
    for _ in range(100):
        deep = [deep]
    async with on_stage(temporal, model, [asker], cached=cached) as stage:
        run = await stage.start("asker")
        request = await pending(run)
        handle = temporal.get_workflow_handle(run.id)
        for value, why in (("x" * 500_000, "are too many"), (deep, "at most 64 levels")):
            with pytest.raises(BadRequest, match=why):
                await run.answer(request, value, by="ann")
            payload = {"request_id": "1.1", "decision": "answer", "answer": value}
            await handle.signal("decide", payload)
        await run.answer(request, '"' * 60_000, by="ann")
        assert (await run.result()).output == "ok"


def test_two_tools_of_one_name_are_refused() -> None:
    with pytest.raises(DefinitionError, match="two of its tools are named 'ask_human'"):
        Agent(name="asker", instructions="Ask.", tools=[ask_human(), ask_human(int)])


def test_a_question_that_names_nobody_is_refused_where_it_is_defined() -> None:
    parameters: dict[str, JsonValue] = {"type": "object", "properties": {}}
    nobody = ToolSpec(name="ask", kind="question", parameters=parameters)
    with pytest.raises(DefinitionError, match="a question needs approval="):
        Agent(name="asker", instructions="Ask.", tools=[nobody])

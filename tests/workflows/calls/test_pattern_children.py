"""Child runs of a pattern: they end with their parent, share its budget and wait for people."""

import asyncio
import json
from typing import Any

import pytest
from outlast_workflows.calls import agent_patterns
from temporalio.client import Client, WorkflowExecutionStatus

from outlast import (
    Limits,
    map_over,
    race,
    tool,
)
from outlast.model_server import Prompt
from outlast.testing import answer, call
from tests.stage import Flag, on_stage, pending
from tests.workflows.calls.teams import (
    MeteredModel,
    TeamModel,
    agent_of,
    children_of,
    children_usage,
    lead_of,
    never,
    told,
    until,
)


@pytest.mark.parametrize("kind", ["race", "map"])
async def test_a_cancelled_parent_leaves_no_child_running(temporal: Client, kind: str) -> None:
    made = call("race_a_b", input="go") if kind == "race" else call("map_a", inputs=["1", "2", "3"])
    model = TeamModel({"lead": [made], "a": never, "b": never})
    member = agent_of("a")
    lead = lead_of(race(member, agent_of("b")), map_over(member, concurrency=2))
    async with on_stage(temporal, model, [lead]) as stage:
        run = await stage.start("lead")
        await until(lambda: len(model.asked) == 3)
        await run.cancel()
        result = await run.result()
        assert result.stop_reason == "cancelled"
        children = await children_of(stage, run)
        assert len(children) == 2
        for child in children:
            described = await temporal.get_workflow_handle(child).describe()
            assert described.status == WorkflowExecutionStatus.COMPLETED


async def test_agents_of_patterns_share_what_is_left_of_the_budget(temporal: Client) -> None:
    model = TeamModel(
        {"lead": [call("race_a_b", input="go"), answer("done")], "a": answer("a"), "b": never}
    )
    lead = lead_of(race(agent_of("a"), agent_of("b")))
    async with on_stage(temporal, model, [lead]) as stage:
        run = await stage.start("lead", limits=Limits(max_tokens=10_000, deadline_s=3_600))
        result = await run.result()
        (history,) = await stage.chain(run)
        used, _ = await children_usage(stage, run)
    limits = [
        json.loads(
            event.start_child_workflow_execution_initiated_event_attributes.input.payloads[0].data
        )["limits"]
        for event in history.events
        if event.HasField("start_child_workflow_execution_initiated_event_attributes")
    ]
    assert sum(each["max_tokens"] for each in limits) < 10_000
    assert all(0 < each["deadline_s"] <= 3_600 for each in limits)
    assert 0 < used.tokens < result.usage.tokens < 10_000


async def test_a_child_of_a_race_waits_for_its_own_approval(temporal: Client) -> None:
    @tool(effect="irreversible")
    def pay() -> str:
        """Pay."""
        return "paid"

    model = TeamModel(
        {
            "lead": [call("race_payer_b", input="go"), answer("done")],
            "payer": lambda prompt: (
                answer("paid") if "paid" in str(prompt.messages[-1]["content"]) else call("pay")
            ),
            "b": never,
        }
    )
    lead = lead_of(race(agent_of("payer", [pay]), agent_of("b")))
    async with on_stage(temporal, model, [lead]) as stage:
        run = await stage.start("lead")

        async def has_children() -> bool:
            return len(await children_of(stage, run)) == 2

        await until(has_children)
        payer = stage.client.get((await children_of(stage, run))[0])
        await payer.approve(await pending(payer))
        await run.result()
    assert '"agents":["payer"]' in told(model)


async def test_a_race_waits_for_its_losers_only_so_long(
    temporal: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A loser ends after a call that changes something. Its usage counts if the run is still open then."""
    monkeypatch.setattr(agent_patterns, "END_WAIT_S", 0.2)
    is_writing, may_end = Flag(), Flag()

    @tool(effect="write")
    async def write() -> str:
        """Write."""
        is_writing.set()
        async with asyncio.timeout(30):
            await may_end.wait()
        return "written"

    async def win(_: Prompt) -> Any:
        await until(is_writing.is_set)
        return answer("a")

    async def last(_: Prompt) -> Any:
        may_end.set()
        await until(has_ended)
        return answer("done")

    async def has_ended() -> bool:
        history = await temporal.get_workflow_handle(run.id).fetch_history()
        field = "child_workflow_execution_completed_event_attributes"
        return sum(event.HasField(field) for event in history.events) == 2  # type: ignore[arg-type]

    lead_steps = iter([call("race_a_b", input="go"), last])
    model = MeteredModel({"lead": lead_steps, "a": win, "b": call("write")})
    lead = lead_of(race(agent_of("a"), agent_of("b", [write])))
    async with on_stage(temporal, model, [lead]) as stage:
        run = await stage.start("lead")
        result = await run.result()
    assert "agent_pattern.agents_not_ended" in caplog.text
    assert result.usage.prompt_tokens == model.served.prompt_tokens

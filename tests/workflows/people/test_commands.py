"""People in a run: approvals with a clock, messages, pauses."""

import asyncio
from typing import Any

import pytest
from temporalio.client import Client

from outlast import BadRequest
from outlast.client.runs import Run
from outlast.terminal.run_view import failed_call_lines
from outlast.testing import ScriptedModel, answer, call
from tests.stage import on_stage, pending
from tests.workflows.people.refund_desk import desk, paid


@pytest.fixture(autouse=True)
def _nothing_paid() -> None:
    paid.clear()


async def until_status(run: Run, status: str) -> None:
    async with asyncio.timeout(30):
        while (await run.progress()).status != status:
            await asyncio.sleep(0.1)


async def test_an_approved_call_happens_once(temporal: Client, cached: int) -> None:
    model = ScriptedModel([call("refund", order_id="42"), answer("refunded")])
    async with on_stage(temporal, model, [desk], cached=cached) as stage:
        run = await stage.start("desk")
        request = await pending(run)
        assert (request.request_id, request.tool, request.audience) == (
            "1.1",
            "refund",
            "support-leads",
        )
        assert paid == []
        assert await run.approve("1.1", by="ann") == "approved 1.1"
        assert (await run.result()).output == "refunded"
    assert paid == ["42"]


@pytest.mark.parametrize("failure", ["approved", "edited"])
async def test_an_approved_call_that_fails_is_named_in_the_result(
    temporal: Client, cached: int, failure: str
) -> None:
    order_id = "unknown" if failure == "approved" else "42"
    model = ScriptedModel([call("refund", order_id=order_id), answer("refunded")])
    async with on_stage(temporal, model, [desk], cached=cached) as stage:
        run = await stage.start("desk")
        request = await pending(run)
        if failure == "edited":
            await run.edit(request, {"order_id": "unknown"}, by="ann")
        else:
            await run.approve("1.1", by="ann")
        result = await run.result()
    assert result.output == "refunded"
    (settled,) = result.decisions
    assert (settled.outcome, settled.by) == ("approved", "ann")
    assert settled.call_error == "there is no order 'unknown'"
    assert failed_call_lines(result) == [
        "approved, and failed: refund (call 1.1): there is no order 'unknown'"
    ]
    assert paid == []


async def test_a_denied_call_does_not_happen_and_the_model_hears_why(
    temporal: Client, cached: int
) -> None:
    model = ScriptedModel([call("refund", order_id="42"), answer("sorry")])
    async with on_stage(temporal, model, [desk], cached=cached) as stage:
        run = await stage.start("desk")
        await pending(run)
        await run.deny("1.1", by="ann", comment="too old")
        assert (await run.result()).output == "sorry"
        assert await stage.activities() == ["generate", "generate"]
    assert paid == []
    assert '{"denied":"denied by ann: too old"}' in model.prompts[1].messages[-1]["content"]


async def test_a_request_that_nobody_answers_is_denied(skipping: Client) -> None:
    model = ScriptedModel([call("refund", order_id="42"), answer("sorry")])
    async with on_stage(skipping, model, [desk], has_search_attributes=False) as stage:
        assert (await stage.run("desk")).output == "sorry"
    assert paid == []
    assert "nobody of support-leads answered within 3600 s" in str(model.prompts[1].messages)


async def test_decisions_that_settle_nothing_are_refused_and_change_nothing(
    temporal: Client, cached: int
) -> None:
    model = ScriptedModel([call("refund", order_id="42"), answer("refunded")])
    async with on_stage(temporal, model, [desk], cached=cached) as stage:
        run = await stage.start("desk")
        await pending(run)
        with pytest.raises(BadRequest, match="'9.9' is not pending; pending: '1.1'"):
            await run.approve("9.9")
        handle = stage.client.temporal.get_workflow_handle(run.id)
        for payload, message in (
            ({"request_id": "1.1", "decision": "maybe"}, "'approve', 'deny', 'edit' or 'answer'"),
            ({"request_id": "1.1", "decison": "deny"}, "did you mean 'decision'"),
            ("approve", "is not a JSON object"),
        ):
            with pytest.raises(Exception) as refused:  # noqa: PT011 the cause is looked at
                await handle.execute_update("decide", payload)
            assert message in str(refused.value.__cause__)
            await handle.signal("decide", payload)
        assert await pending(run)
        await run.approve("1.1", by="ann")
        await run.result()
    assert paid == ["42"]


async def test_the_first_decision_stands(temporal: Client) -> None:
    model = ScriptedModel(
        [call("refund", order_id="1"), call("refund", order_id="2"), answer("done")]
    )
    async with on_stage(temporal, model, [desk]) as stage:
        run = await stage.start("desk")
        await pending(run)
        await run.approve("1.1", by="ann")
        while (await pending(run)).request_id != "2.1":
            await asyncio.sleep(0.1)
        assert await run.approve("1.1", by="ann") == "approved 1.1"
        with pytest.raises(BadRequest, match="already approved by 'ann'"):
            await run.deny("1.1", by="bob")
        await run.deny("2.1")
        await run.result()
    assert paid == ["1"]


async def test_a_decision_may_come_as_a_signal(temporal: Client, cached: int) -> None:
    model = ScriptedModel([call("refund", order_id="42"), answer("refunded")])
    async with on_stage(temporal, model, [desk], cached=cached) as stage:
        run = await stage.start("desk")
        await pending(run)
        handle = stage.client.temporal.get_workflow_handle(run.id)
        await handle.signal("decide", {"request_id": "1.1", "decision": "approve"})
        await run.result()
    assert paid == ["42"]


async def test_what_is_said_is_heard_before_the_next_turn(temporal: Client, cached: int) -> None:
    model = ScriptedModel([call("refund", order_id="42"), answer("as you say")])
    async with on_stage(temporal, model, [desk], cached=cached) as stage:
        run = await stage.start("desk")
        await pending(run)
        await run.say("be quick", by="ann")
        await run.approve("1.1")
        await run.result()
    assert model.prompts[1].messages[-1]["content"].endswith("\nbe quick")


async def test_a_message_during_the_last_model_call_gets_an_answer_of_its_own(
    temporal: Client, cached: int
) -> None:
    started = asyncio.Event()
    message_sent = asyncio.Event()

    async def first(_: object) -> dict[str, Any]:
        started.set()
        await message_sent.wait()
        return answer("one")

    model = ScriptedModel([first, answer("two")])
    async with on_stage(temporal, model, [desk], cached=cached) as stage:
        run = await stage.start("desk")
        await started.wait()
        await run.say("and another thing")
        message_sent.set()
        assert (await run.result()).output == "two"


async def test_a_paused_run_waits_until_it_is_resumed(temporal: Client, cached: int) -> None:
    model = ScriptedModel([call("refund", order_id="42"), answer("refunded")])
    async with on_stage(temporal, model, [desk], cached=cached) as stage:
        run = await stage.start("desk")
        await pending(run)
        await run.pause(by="ann", reason="lunch")
        await run.approve("1.1")
        await until_status(run, "paused")
        assert (await run.progress()).doing == "paused by ann lunch"
        assert len(model.prompts) == 1
        await run.resume(by="ann")
        assert (await run.result()).output == "refunded"


async def test_a_conversation_stays_until_it_is_finished(temporal: Client, cached: int) -> None:
    model = ScriptedModel([answer("hello"), answer("bye")])
    async with on_stage(temporal, model, [desk], cached=cached) as stage:
        run = await stage.start("desk", "hi", mode="conversation")
        async with asyncio.timeout(30):
            while len(model.prompts) < 1:
                await asyncio.sleep(0.1)
        await until_status(run, "waiting_for_message")
        await run.say("bye")
        async with asyncio.timeout(30):
            while len(model.prompts) < 2:
                await asyncio.sleep(0.1)
        await until_status(run, "waiting_for_message")
        await run.finish()
        result = await run.result()
    assert (result.status, result.output, result.turns) == ("completed", "bye", 2)


async def test_a_waiting_run_is_found_by_its_status(temporal: Client) -> None:
    model = ScriptedModel([call("refund", order_id="42"), answer("refunded")])
    async with on_stage(temporal, model, [desk]) as stage:
        run = await stage.start("desk")
        await pending(run)
        query = f"AgentStatus='waiting_for_human' and WorkflowId='{run.id}'"
        async with asyncio.timeout(30):
            while not (found := [w.id async for w in temporal.list_workflows(query)]):
                await asyncio.sleep(0.1)
        assert found == [run.id]
        await run.approve("1.1")
        await run.result()
        done = f"AgentStatus='completed' and AgentTurns=2 and WorkflowId='{run.id}'"
        async with asyncio.timeout(30):
            while not [w.id async for w in temporal.list_workflows(done)]:
                await asyncio.sleep(0.1)


async def test_a_conversation_whose_turns_are_spent_ends_with_its_last_answer(
    temporal: Client,
) -> None:
    async with on_stage(temporal, ScriptedModel([answer("only")]), [desk]) as stage:
        result = await stage.run("desk", mode="conversation", limits={"max_turns": 1})
    assert (result.status, result.output) == ("completed", "only")

"""People in a run: approvals with a clock, messages, pauses, cancellation."""

import asyncio
import contextlib
import json
from datetime import timedelta
from typing import Any

import pytest
from temporalio.client import Client

from outlast import Agent, Approval, BadRequest, ToolError, tool
from outlast.client.runs import Run
from outlast.model_server import Completion, OnTokens, Prompt
from outlast.terminal.run_view import failed_call_lines
from outlast.testing import ScriptedModel, answer, call
from tests.stage import Flag, on_stage, pending, staged_settings

paid: list[str] = []


@pytest.fixture(autouse=True)
def _nothing_paid() -> None:
    paid.clear()


@tool(effect="irreversible", approval=Approval(audience="support-leads", expires_s=3600))
def refund(order_id: str) -> str:
    """Refund an order."""
    if order_id == "unknown":
        raise ToolError("there is no order 'unknown'")
    paid.append(order_id)
    return f"refunded {order_id}"


desk = Agent(name="desk", instructions="Refund.", tools=[refund])


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


async def test_what_is_said_now_interrupts_the_model_call(temporal: Client, cached: int) -> None:
    async def slow(_: object) -> dict[str, Any]:
        await asyncio.sleep(60)
        return answer("late")

    model = ScriptedModel([slow, answer("stopped")])
    async with on_stage(temporal, model, [desk], cached=cached) as stage:
        run = await stage.start("desk")
        async with asyncio.timeout(30):
            while not model.prompts:
                await asyncio.sleep(0.1)
        assert await run.say("stop", when="now") == "interrupts the model call in flight"
        assert (await run.result()).output == "stopped"
    assert model.prompts[1].messages[-1]["content"].endswith("stop")


class Talking(ScriptedModel):
    """Streams 7 tokens and then hangs, a number of times; then it plays its script."""

    def __init__(self, steps: list[Any], *, times: int) -> None:
        super().__init__(steps)
        self.began = 0
        self._times = times

    async def complete(self, prompt: Prompt, *, on_tokens: OnTokens | None = None) -> Completion:
        self.began += 1
        if self.began <= self._times:
            assert on_tokens is not None
            on_tokens(7)
            await asyncio.sleep(60)
        return await super().complete(prompt, on_tokens=on_tokens)


async def begun(model: Talking, times: int) -> None:
    async with asyncio.timeout(30):
        while model.began < times:
            await asyncio.sleep(0.05)


async def test_what_an_interrupted_call_used_is_counted_where_there_is_a_limit(
    temporal: Client, cached: int
) -> None:
    model = Talking([answer("stopped")], times=2)
    async with on_stage(temporal, model, [desk], cached=cached) as stage:
        run = await stage.start("desk", limits={"max_tokens": 100_000})
        for turn in (1, 2):
            await begun(model, turn)
            await run.say("stop", when="now")
        result = await run.result()
    assert result.output == "stopped"
    last = len(json.dumps(model.prompts[0].messages)) // 4
    assert result.usage.completion_tokens >= 14
    assert result.usage.prompt_tokens > 2 * last


async def test_a_run_with_a_limit_is_cancelled_in_its_model_call(
    temporal: Client, cached: int
) -> None:
    model = Talking([], times=1)
    async with on_stage(temporal, model, [desk], cached=cached) as stage:
        run = await stage.start("desk", limits={"max_tokens": 100_000})
        await begun(model, 1)
        await run.cancel()
        result = await run.result()
    assert (result.status, result.stop_reason) == ("stopped", "cancelled")
    assert result.usage.completion_tokens == 7
    assert result.usage.prompt_tokens > 0


async def test_a_run_with_a_limit_keeps_its_deadline_in_a_model_call(temporal: Client) -> None:
    model = Talking([], times=1)
    async with on_stage(temporal, model, [desk]) as stage:
        result = await stage.run("desk", limits={"max_tokens": 100_000, "deadline_s": 1})
    assert (result.status, result.stop_reason) == ("stopped", "deadline")


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


async def test_a_cancellation_reaches_the_tool(temporal: Client, cached: int) -> None:
    seen = Flag()
    gone = Flag()

    @tool(effect="read", timeout=timedelta(minutes=5))
    async def wait() -> str:
        """Wait."""
        seen.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            gone.set()
            raise
        return ""

    agent = Agent(name="waiter", instructions="Wait.", tools=[wait])
    async with on_stage(temporal, ScriptedModel([call("wait")]), [agent], cached=cached) as stage:
        run = await stage.start("waiter")
        await seen.wait()
        await run.cancel()
        result = await run.result()
        assert (result.status, result.stop_reason) == ("stopped", "cancelled")
        async with asyncio.timeout(40):
            await gone.wait()


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


async def test_a_cancellation_that_comes_with_an_interruption_wins(temporal: Client) -> None:
    async def slow(_: object) -> dict[str, Any]:
        await asyncio.sleep(60)
        return answer("late")

    settings = staged_settings(cached=1000)
    async with on_stage(temporal, ScriptedModel([slow]), [desk], settings=settings) as stage:
        run = await stage.start("desk")
        async with asyncio.timeout(30):
            while (await run_doing(run)) != "turn 1":
                await asyncio.sleep(0.1)
    # With no worker about, both arrive in one workflow task.
    handle = temporal.get_workflow_handle(run.id)
    await handle.signal("say", {"text": "stop", "when": "now"})
    await run.cancel()
    model = ScriptedModel([answer("went on")], repeat_last=True)
    async with on_stage(temporal, model, [desk], settings=settings):
        result = await run.result()
    assert (result.status, result.stop_reason) == ("stopped", "cancelled")


async def run_doing(run: Run) -> str:
    try:
        return (await run.progress()).doing
    except Exception:  # noqa: BLE001 the run has not begun
        return ""


async def test_a_conversation_whose_turns_are_spent_ends_with_its_last_answer(
    temporal: Client,
) -> None:
    async with on_stage(temporal, ScriptedModel([answer("only")]), [desk]) as stage:
        result = await stage.run("desk", mode="conversation", limits={"max_turns": 1})
    assert (result.status, result.output) == ("completed", "only")


class Stubborn(Talking):
    """Ends what it is at before it takes notice of a cancellation: its answer comes first."""

    async def complete(self, prompt: Prompt, *, on_tokens: OnTokens | None = None) -> Completion:
        self.began += 1
        if self.began == 1:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(60)
        return await ScriptedModel.complete(self, prompt, on_tokens=on_tokens)


async def test_a_cancellation_wins_over_an_answer_that_comes_first(
    temporal: Client, cached: int
) -> None:
    model = Stubborn([call("refund", order_id="42"), answer("done")], times=1)
    async with on_stage(temporal, model, [desk], cached=cached) as stage:
        run = await stage.start("desk", limits={"max_tokens": 100_000})
        await begun(model, 1)
        await run.cancel()
        result = await run.result()
    assert (result.status, result.stop_reason) == ("stopped", "cancelled")
    assert result.tool_calls == 0
    assert result.usage.tokens > 0


async def test_what_is_said_now_wins_over_an_answer_that_comes_first(temporal: Client) -> None:
    model = Stubborn([call("refund", order_id="42"), answer("as you wish")], times=1)
    async with on_stage(temporal, model, [desk]) as stage:
        run = await stage.start("desk", limits={"max_tokens": 100_000})
        await begun(model, 1)
        await run.say("no refund", when="now")
        result = await run.result()
    assert (result.output, result.tool_calls) == ("as you wish", 0)
    assert model.prompts[-1].messages[-1]["content"].endswith("no refund")

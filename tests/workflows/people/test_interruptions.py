"""Messages and cancellations that come during a model call or a tool call."""

import asyncio
import contextlib
import json
from datetime import timedelta
from typing import Any

from temporalio.client import Client

from outlast import Agent, tool
from outlast.client.runs import Run
from outlast.model_server import Completion, OnTokens, Prompt
from outlast.testing import ScriptedModel, answer, call
from tests.stage import Flag, on_stage, staged_settings
from tests.workflows.people.refund_desk import desk


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

"""A run whose steps wait says for what: a stream does not stay silent."""

import asyncio
import re
from contextlib import aclosing
from datetime import timedelta
from typing import Any

import pytest
from outlast_workers.settings import Settings
from temporalio.client import Client as TemporalClient

from outlast import Agent, Run, Waiting, tool
from outlast.client import streams
from outlast.contracts.agents import Leg
from outlast.errors import ModelError, ModelFailure, NoAnswer
from outlast.model_server import Prompt
from outlast.testing import ScriptedModel, answer, call
from tests.stage import Flag, on_stage, pending, staged_settings

WITHIN_S = 60


@tool(effect="read")
def look(place: str) -> str:
    """Look at a place."""
    return f"{place} is quiet"


@tool(effect="write", approval="pilots")
def land(place: str) -> str:
    """Land."""
    return f"landed on {place}"


SCOUT = Agent("scout", "Look.", [look])
PILOT = Agent("pilot", "Land.", [land])
LEAD = Agent("lead", "Lead.", [PILOT])


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "QUIET_BEFORE_STEPS_S", 0.0)


async def shown(run: Run[Any], words: str) -> str:
    """Return what a stream says that the run waits for, once it says these words."""
    async with asyncio.timeout(WITHIN_S), aclosing(run.stream(timedelta(milliseconds=50))) as lines:
        async for entry in lines:
            if isinstance(entry, Waiting) and words in entry.content:
                return entry.content
    raise AssertionError(f"the run has ended, and nothing said {words!r}")


def nobody_serves_tools() -> Settings:
    return staged_settings(cached=1000, tools=[Leg(task_queue="nobody-{own}")])


async def test_a_call_without_a_worker_names_its_queue(temporal: TemporalClient) -> None:
    settings = nobody_serves_tools()
    model = ScriptedModel([call("look", place="Mars")])
    async with on_stage(temporal, model, [SCOUT], settings=settings) as stage:
        run = await stage.start("scout")
        queue = settings.route("tools").legs[0].task_queue
        expected = f"waits for a worker that takes look from the task queue {queue!r}"
        assert await shown(run, "a worker that takes look") == expected
        await run.cancel()


async def test_a_reply_that_is_late_says_that_a_call_has_no_worker(
    temporal: TemporalClient,
) -> None:
    model = ScriptedModel([call("look", place="Mars")])
    async with on_stage(temporal, model, [SCOUT], settings=nobody_serves_tools()) as stage:
        run = await stage.start("scout", mode="conversation")
        await shown(run, "a worker that takes look")
        with pytest.raises(NoAnswer, match="waits for a worker that takes look"):
            await run.reply(within=timedelta(milliseconds=1))
        await run.cancel()


async def test_a_step_that_is_retried_says_why(temporal: TemporalClient) -> None:
    is_up = Flag()

    def decide(prompt: Prompt) -> dict[str, Any]:
        if not is_up.is_set():
            raise ModelError("10.0.0.7 refused\u202e", kind=ModelFailure.CONNECTION)
        return answer("quiet")

    model = ScriptedModel([decide], repeat_last=True)
    async with on_stage(temporal, model, [SCOUT]) as stage:
        run = await stage.start("scout")
        line = await shown(run, "attempt")
        reason = r"ModelConnection: 10\.0\.0\.7 refused\\u202e"
        known = rf"waits for attempt \d+ of generate; the attempt before failed: {reason}"
        assert re.fullmatch(known, line), line
        is_up.set()
        assert (await run.result()).output_json == "quiet"


async def test_a_called_agent_is_named_with_its_command(temporal: TemporalClient) -> None:
    def decide(prompt: Prompt) -> dict[str, Any]:
        if len(prompt.turns) > 1:
            return answer("landed")
        return call("land", place="Mars") if prompt.agent == "pilot" else call("pilot", input="Go.")

    model = ScriptedModel([decide], repeat_last=True)
    async with on_stage(temporal, model, [LEAD, PILOT]) as stage:
        run = await stage.start("lead")
        line = await shown(run, "a called agent")
        _, _, child_id = line.rpartition("waits for a called agent: outlast watch ")
        child = stage.client.get(child_id)
        await child.approve(await pending(child))
        assert (await run.result()).output_json == "landed"

"""Runs with local tools that are queried and steered all the time: each of them can be replayed."""

import asyncio
import contextlib
import random
from datetime import timedelta
from typing import Any

import pytest
from temporalio.client import Client

from outlast import Agent, OutlastError, tool
from outlast.client.runs import Run
from outlast.model_server import Prompt
from outlast.testing import ScriptedModel, answer, call
from tests.stage import Stage, local_settings, on_stage

RUNS = 20
AT_ONCE = 5
CALLS = 10


@tool(effect="read", timeout=timedelta(seconds=5))
async def look(for_s: float) -> str:
    """Look for a moment."""
    await asyncio.sleep(for_s)
    return "quiet"


looker = Agent(name="looker", instructions="Look.", tools=[look])


def decided(prompt: Prompt) -> dict[str, Any]:
    """Call the tool ten times, then answer each message."""
    results = sum('"tool":"look"' in str(message["content"]) for message in prompt.messages)
    return call("look", for_s=random.choice([0, 0.03])) if results < CALLS else answer("quiet")


async def disturbed(stage: Stage) -> str:
    run = await stage.start("looker")
    ending = asyncio.create_task(run.result())
    watching = [asyncio.create_task(each(run)) for each in (query, query, steer)]
    result = await asyncio.wait_for(ending, 90)
    for task in watching:
        task.cancel()
    return result.status


async def query(run: Run) -> None:
    while True:
        with contextlib.suppress(OutlastError):
            await run.progress()
        await asyncio.sleep(random.random() * 0.003)


async def steer(run: Run) -> None:
    while True:
        with contextlib.suppress(OutlastError):
            await run.say("go on")
        await asyncio.sleep(random.random() * 0.06)


@pytest.mark.timeout(200)
async def test_runs_with_local_tools_replay_although_they_are_watched_and_steered(
    temporal: Client,
) -> None:
    model = ScriptedModel([decided], repeat_last=True)
    async with on_stage(temporal, model, [looker], settings=local_settings()) as stage:
        for _ in range(RUNS // AT_ONCE):
            ends = await asyncio.gather(*(disturbed(stage) for _ in range(AT_ONCE)))
            assert set(ends) <= {"completed", "stopped"}
    # `on_stage` replays each run at its end.

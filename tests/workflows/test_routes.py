"""Routes: a step goes to the first leg whose worker takes it in time."""

import time

import pytest
from temporalio.client import Client

from outlast import Agent, Leg, RunFailed, tool
from outlast.errors import ModelError, ModelFailure
from outlast.testing import ScriptedModel, answer, call
from tests.stage import on_stage, staged_settings


@tool(effect="read")
def look() -> str:
    """Look."""
    return "seen"


agent = Agent(name="looker", instructions="Look.", tools=[look])
COLD = Leg(task_queue="nobody-{own}", start_within_s=1)


async def test_a_step_whose_first_leg_has_no_worker_is_served_by_the_second(
    temporal: Client, cached: int
) -> None:
    settings = staged_settings(
        cached=cached,
        generate=[COLD, Leg(task_queue="generate-{own}")],
        tools=[COLD, Leg(task_queue="tools-{own}")],
    )
    model = ScriptedModel([call("look"), answer("seen")])
    async with on_stage(temporal, model, [agent], settings=settings) as stage:
        began = time.monotonic()
        result = await stage.run("looker")
        assert result.output == "seen"
        assert time.monotonic() - began < 8
        assert (await stage.activities()).count("look") == 2


async def test_a_step_that_no_leg_serves_ends_the_run_by_name(temporal: Client) -> None:
    settings = staged_settings(cached=1000, generate=[COLD])
    async with on_stage(temporal, ScriptedModel([]), [agent], settings=settings) as stage:
        with pytest.raises(RunFailed, match=r"turn 1: no worker took it on 'nobody-.*' within 1 s"):
            await stage.run("looker")


async def test_a_leg_whose_model_server_is_away_gives_way_to_the_next(temporal: Client) -> None:
    settings = staged_settings(
        cached=1000,
        generate=[Leg(task_queue="generate-{own}"), Leg(task_queue="generate-{own}")],
    )
    away = ModelError("the model server cannot be reached", kind=ModelFailure.CONNECTION)
    model = ScriptedModel([away, away, away, answer("seen")])
    async with on_stage(temporal, model, [agent], settings=settings) as stage:
        result = await stage.run("looker")
        assert (await stage.activities()).count("generate") == 2
    assert result.output == "seen"


async def test_what_another_server_may_have_is_asked_there_at_once(temporal: Client) -> None:
    settings = staged_settings(
        cached=1000,
        generate=[Leg(task_queue="generate-{own}"), Leg(task_queue="generate-{own}")],
    )
    unknown = ModelError("no such model", kind=ModelFailure.UNKNOWN_MODEL)
    model = ScriptedModel([unknown, answer("seen")])
    async with on_stage(temporal, model, [agent], settings=settings) as stage:
        assert (await stage.run("looker")).output == "seen"


async def test_what_is_final_is_not_asked_elsewhere(temporal: Client) -> None:
    settings = staged_settings(
        cached=1000,
        generate=[Leg(task_queue="generate-{own}"), Leg(task_queue="generate-{own}")],
    )
    model = ScriptedModel([ModelError("I will not", kind=ModelFailure.REFUSAL)])
    async with on_stage(temporal, model, [agent], settings=settings) as stage:
        with pytest.raises(RunFailed, match="turn 1: I will not") as failed:
            await stage.run("looker")
    assert failed.value.cause_type == ModelFailure.REFUSAL

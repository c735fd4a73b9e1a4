"""The planner's count of billable actions beside real histories."""

import pytest
from outlast_workers.plan.actions import actions_per_run, heartbeats
from temporalio.client import Client

from bench.actions import billable_actions
from outlast import Agent, tool
from outlast.testing import ScriptedModel, answer, call
from tests.stage import on_stage


@tool(effect="read")
def look(where: str) -> str:
    """Look."""
    return where


AGENT = Agent(name="looker", instructions="Look.", tools=[look])


async def test_a_run_has_as_many_actions_as_its_history_shows(temporal: Client) -> None:
    counted = {}
    for turns in (1, 6):
        looks = [call("look", where=str(number)) for number in range(turns - 1)]
        model = ScriptedModel([*looks, answer("seen")])
        async with on_stage(temporal, model, [AGENT]) as stage:
            await stage.run("looker")
            counted[turns] = billable_actions((await stage.last()).events)
    assert counted == {turns: actions_per_run(turns) for turns in counted}


@pytest.mark.parametrize(
    ("seconds", "beats"), [(3.3, 0), (4, 0), (5, 1), (10, 1), (12, 2), (15, 2), (30, 5), (60, 10)]
)
def test_model_calls_have_the_heartbeats_of_the_decision_record(seconds: float, beats: int) -> None:
    assert heartbeats("generate", [seconds]) == beats


@pytest.mark.parametrize(("seconds", "beats"), [(3.3, 0), (4, 1), (12, 2), (30, 4), (60, 8)])
def test_tools_have_the_heartbeats_of_their_timeout_of_10_s(seconds: float, beats: int) -> None:
    assert heartbeats("tools", [seconds]) == beats

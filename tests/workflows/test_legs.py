"""Routes: a step goes to the first leg whose worker takes it in time."""

import time
from datetime import UTC, datetime, timedelta

import pytest
from outlast_activities.resolve import ColdLegs
from outlast_workflows.legs import warm_legs
from temporalio.client import Client

from outlast import Agent, Leg, Route, RunFailed, tool
from outlast.errors import DefinitionError, ModelError, ModelFailure
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
    )
    model = ScriptedModel([call("look"), answer("seen")])
    async with on_stage(temporal, model, [agent], settings=settings) as stage:
        began = time.monotonic()
        result = await stage.run("looker")
        assert result.output == "seen"
        assert time.monotonic() - began < 30
        activities = await stage.activities()
        assert activities == ["generate", "generate", "look", "generate"]


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


async def test_a_cold_leg_is_waited_for_once_and_then_passed_over(
    temporal: Client, cached: int
) -> None:
    """By the run that found it cold, and by the next run that its worker opens."""
    settings = staged_settings(
        cached=cached,
        generate=[COLD, Leg(task_queue="generate-{own}")],
        tools=[Leg(task_queue="tools-{own}")],
    )
    script = [call("look"), call("look"), answer("seen")]
    async with on_stage(temporal, ScriptedModel(script * 2), [agent], settings=settings) as stage:
        first = await stage.run("looker")
        assert (await stage.activities()).count("generate") == 4, "once on the cold leg"
        second = await stage.run("looker")
        assert (await stage.activities()).count("generate") == 3
    nobody, served, tools = first.legs
    assert (nobody.steps, nobody.passed_on) == (0, 1)
    assert (served.steps, tools.steps) == (3, 2)
    assert served.waited_s < 10
    assert [leg.steps for leg in second.legs] == [3, 2]


NOW = datetime(2026, 1, 1, tzinfo=UTC)
ROUTE = Route(legs=tuple(Leg(task_queue=name) for name in ("gpu", "pool", "last")))


@pytest.mark.parametrize(
    ("cold", "tried"),
    [
        ({}, ["gpu", "pool", "last"]),
        ({"gpu": 1}, ["pool", "last"]),
        ({"gpu": 0}, ["gpu", "pool", "last"]),
        ({"gpu": -5, "pool": 5}, ["gpu", "last"]),
        ({"gpu": 1, "pool": 1, "last": 1}, ["last"]),
        ({"other": 1}, ["gpu", "pool", "last"]),
    ],
)
def test_the_legs_that_are_tried_are_those_that_are_not_cold(
    cold: dict[str, float], tried: list[str]
) -> None:
    until = {name: NOW + timedelta(seconds=left) for name, left in cold.items()}
    assert [leg.task_queue for leg in warm_legs(ROUTE, until, NOW)] == tried


def test_what_was_cold_is_forgotten() -> None:
    cold = ColdLegs()
    cold.note("gpu", until=NOW + timedelta(seconds=60))
    assert list(cold.current(NOW + timedelta(seconds=59))) == ["gpu"]
    assert cold.current(NOW + timedelta(seconds=60)) == {}


async def test_an_agents_model_and_a_tools_class_choose_the_route(temporal: Client) -> None:
    @tool(effect="read", tool_class="gpu")
    def scan() -> str:
        """Scan."""
        return "scanned"

    settings = staged_settings(cached=1000, generate=[COLD], tools=[COLD])
    own = settings.routes.model_copy(
        update={
            "model": {"large": Route(legs=(Leg(task_queue=settings.queue("generate")),))},
            "tool_class": {"gpu": Route(legs=(Leg(task_queue=settings.queue("tools")),))},
        }
    )
    settings = settings.model_copy(update={"routes": own})
    asks = Agent(name="asks", instructions="Scan.", tools=[scan], model="large")
    spec = {"instructions": "Scan.", "tools": ["scan"], "model": "large"}
    model = ScriptedModel([call("scan"), answer("done")] * 2)
    async with on_stage(temporal, model, [asks], tools=[scan], settings=settings) as stage:
        for result in (await stage.run("asks"), await stage.run(spec=spec)):
            assert [leg.passed_on for leg in result.legs] == [0, 0]
            assert {leg.task_queue for leg in result.legs} == {
                settings.queue("generate"),
                settings.queue("tools"),
            }


def test_a_tool_class_has_a_name() -> None:
    with pytest.raises(DefinitionError, match="tool_class 'a b' is not a name such as 'gpu'"):

        @tool(effect="read", tool_class="a b")
        def scan() -> str:
            """Scan."""
            return ""

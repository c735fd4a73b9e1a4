"""Legs whose API cannot take an agent are refused when the run is resolved, before anything is sent."""

from collections.abc import Iterator
from typing import Any

import pytest
from outlast_activities.generation.endpoint import Endpoint
from outlast_activities.leg_checks import KnownServer, LegChecks
from outlast_activities.providers.registry import adapter_of
from outlast_workers.settings_sections.model_servers import ModelSettings
from pydantic import BaseModel
from temporalio.client import Client

from bench.engines.prompts import pinned
from outlast import Agent, Leg, Route, RunFailed, tool
from outlast.contracts.agents import Way
from outlast.model_server import ServerOptions
from tests.fakes.fake_anthropic import FakeAnthropic
from tests.fakes.service import Play, serving
from tests.stage import on_stage, staged_settings


class Tree(BaseModel):
    """A type that contains itself."""

    name: str
    branches: list["Tree"] = []


Many: Any = type(
    "Many",
    (BaseModel,),
    {"__annotations__": {f"x{n}": int for n in range(25)}} | {f"x{n}": 0 for n in range(25)},
)


@tool(effect="read")
def grow(tree: Tree) -> str:
    """Grow a tree."""
    return tree.name


def known(api: str, url: str = "", model: str = "m", way: Way | None = None) -> KnownServer:
    options = ServerOptions(url or f"https://{api}.example/v1", api, model=model)
    return KnownServer(options, adapter_of(api).rules, way)


CHECKS = LegChecks(
    {
        "claude": known("anthropic"),
        "gpt": known("openai-responses"),
        "old": known("gemini", model="gemini-2.5-pro"),
        "gemini": known("gemini", model="gemini-3.5-flash"),
        "deepseek": known("openai-chat", "https://api.deepseek.com/v1"),
        "own": known("vllm"),
        "proxy": known("openai-chat", "https://proxy.example/v1"),
    },
    default=known("anthropic", way="decision"),
    task_queue="agents",
)


def problem(agent: Agent[Any, Any], *legs: Leg) -> str | None:
    return CHECKS.problem(pinned(agent).model_copy(update={"route": Route(legs=legs)}))


def leg(server: str | None, way: Way | None = None, **fields: Any) -> Leg:
    return Leg(task_queue="agents", server=server, way=way, **fields)


def test_a_schema_that_one_leg_cannot_take_names_the_leg_the_api_and_the_path() -> None:
    agent = Agent("forester", "Draw.", output=list[Tree])
    assert problem(agent, leg("gpt", "decision"), leg("claude", "decision")) == (
        "leg 2 of its route (server 'claude', api 'anthropic', way 'decision') cannot take its output: "
        ".items: Tree contains itself, which Anthropic's "
        'structured outputs do not allow; change the type, set way = "tools" for the leg, or take the leg '
        "out of the route"
    )


def test_a_tool_that_one_leg_cannot_take_is_named() -> None:
    agent = Agent("forester", "Draw.", tools=[grow])
    found = problem(agent, leg("claude", "decision"))
    assert found is not None
    assert "cannot take the parameters of tool 'grow': .properties.tree" in found


def test_limits_of_one_request_are_checked() -> None:
    found = problem(Agent("many", "Count.", output=Many), leg("claude", "decision"))
    assert found is not None
    assert "its output: .: 25 optional properties, and this API accepts 24" in found


@pytest.mark.parametrize(
    ("chosen", "refused"),
    [
        (leg("claude"), None),
        (leg("claude", "tools"), None),
        (leg("gpt", "decision"), None),
        (leg("own", "decision"), None),
        (leg("proxy", "native"), None),
        (leg("unknown", "decision"), None),
        (leg(None), "leg 1 of its route (task queue 'agents', api 'anthropic', way 'decision')"),
        (Leg(task_queue="elsewhere"), None),
        (leg("old", "native"), "way: model 'gemini-2.5-pro' takes 'tools', 'decision'"),
        (leg("gemini", "native", model="gemini-2.5-flash"), "model 'gemini-2.5-flash' takes"),
        (
            leg("deepseek", "decision"),
            "server 'deepseek', api 'openai-chat', way 'decision') cannot use",
        ),
    ],
)
def test_a_leg_is_refused_for_what_is_known_without_a_probe(
    chosen: Leg, refused: str | None
) -> None:
    found = problem(Agent("forester", "Draw.", output=Tree), chosen)
    assert found is None if refused is None else refused in (found or "")


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeAnthropic]:
    with serving(FakeAnthropic()) as served:
        yield served


MODEL = "claude-haiku-4-5"


async def test_a_run_is_refused_at_resolve_and_sends_nothing(
    temporal: Client, fake: FakeAnthropic
) -> None:
    settings = staged_settings(cached=1000)
    assert settings.routes.generate is not None
    queue = settings.routes.generate.legs[0].task_queue
    legs = (Leg(task_queue=queue, server="claude"), Leg(task_queue=queue, server="strange"))
    settings = settings.model_copy(
        update={
            "servers": {"claude": ModelSettings(url=fake.url, api="anthropic", name=MODEL)},
            "routes": settings.routes.model_copy(update={"generate": Route(legs=legs)}),
        }
    )
    options = ServerOptions(fake.url, "anthropic", fake.key, model=MODEL)
    server = adapter_of("anthropic").connect(options, None)
    endpoint = Endpoint(server, 1_024, ways=("native", "tools", "decision"))
    agents = [
        Agent("wrong", "Draw.", output=Tree, way="decision"),
        Agent("right", "Draw.", output=Tree),
    ]
    fake.play(Play(answer={"name": "oak", "branches": []}))
    spec = {"instructions": "Draw.", "output": Tree.model_json_schema(), "way": "decision"}
    async with on_stage(temporal, {"claude": endpoint}, agents, settings=settings) as stage:
        for wanted, named in (({"agent": "wrong"}, "agent 'wrong'"), ({"spec": spec}, "spec")):
            with pytest.raises(RunFailed) as failed:
                await stage.run(**wanted)
            assert failed.value.cause_type == "BadRequest"
            assert f"{named}: leg 1 of its route (server 'claude', api 'anthropic'" in str(
                failed.value
            )
            assert await stage.activities() == []
        assert fake.received == []
        result = await stage.run("right")
    await server.aclose()
    assert result.output == {"name": "oak", "branches": []}

"""Real runs on the fakes of hosted APIs: a run that begins on one and spills to the others."""

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from outlast_activities.generation.activity import DEFAULT_SERVER
from outlast_activities.generation.endpoint import Endpoint
from outlast_activities.providers.registry import ADAPTERS
from outlast_examples import dependency_review, refund_desk
from outlast_workers.settings import Settings
from outlast_workers.settings_sections.media import MediaSettings
from outlast_workers.settings_sections.model_servers import ModelSettings
from temporalio.client import Client

import outlast
from outlast import Agent, Leg, Route
from outlast.contracts.agents import Way
from outlast.model_server import ModelServer, ServerOptions
from tests.acceptance.test_testing_page import files_of
from tests.activities.providers.test_hosted_apis import APIS
from tests.fakes.media_rules import media_in
from tests.fakes.service import FakeService, Play, serving
from tests.stage import on_stage, pending, staged_settings

ORDER = (
    *("anthropic", "openai-chat", "gemini", "openai-chat"),
    *("openai-responses", "openai-chat", "anthropic", "gemini"),
    *("openai-responses", "gemini", "anthropic", "openai-responses"),
    "anthropic",
)
"""Who serves each turn. Each API follows each other one."""

MODELS = {
    "anthropic": "claude-opus-5-5",
    "openai-responses": "gpt-6-sol",
    "gemini": "gemini-3.5-flash",
    "openai-chat": "gpt-4.1",
}


@outlast.tool(effect="read")
def search(query: str, limit: int = 3) -> dict[str, list[str]]:
    """Search the documents."""
    return {"found": [query] * limit}


clerk = Agent(name="clerk", instructions="Answer from the documents.", tools=[search], output=str)


PNG = b"\x89PNG\r\n\x1a\n"
PHOTO = outlast.Image.from_bytes(PNG + b"photo", name="photo.png")


@outlast.tool(effect="read", name="search")
def search_images(query: str, limit: int = 3) -> dict[str, list[str | outlast.Image]]:
    """Search the documents, and return an image of what was found."""
    return {"found": [query] * limit + [outlast.Image.from_bytes(PNG + query.encode())]}


viewer = Agent("viewer", "Answer from the images.", tools=[search_images])


@pytest.fixture(scope="module")
def fakes() -> Iterator[dict[str, FakeService]]:
    with contextlib.ExitStack() as stack:
        yield {api: stack.enter_context(serving(APIS[api].fake())) for api in MODELS}


class Turns:
    """Lets one API serve each turn. The others have no credit, so the next leg is tried."""

    def __init__(self) -> None:
        self.served: list[str] = []

    def script(self, api: str) -> Callable[[Any], Play]:
        def play(body: Any) -> Play:
            if len(self.served) < len(ORDER) and ORDER[len(self.served)] != api:
                return Play(error=(402, {"error": {"message": "no credit", "type": "billing"}}, {}))
            self.served.append(api)
            number = len(self.served)
            if number == len(ORDER):
                return Play(answer="done")
            calls = [("search", {"query": f"{api} {number}.{index}"}) for index in (1, 2)]
            return Play(calls=calls, thoughts=f"{api} thinks in turn {number}.")

        return play


def settings_for(fakes: dict[str, FakeService]) -> Settings:
    """Return settings with a leg for each API, in the order of `MODELS`."""
    settings = staged_settings(cached=1000)
    assert settings.routes.generate is not None
    queue = settings.routes.generate.legs[0].task_queue
    servers = {
        api: ModelSettings(url=fake.url, api=api, name=MODELS[api]) for api, fake in fakes.items()
    }
    legs = tuple(Leg(task_queue=queue, server=api) for api in MODELS)
    routes = settings.routes.model_copy(update={"generate": Route(legs=legs)})
    return settings.model_copy(update={"servers": servers, "routes": routes})


def connected(api: str, fake: FakeService) -> ModelServer:
    options = ServerOptions(fake.url, api, fake.key, model=MODELS[api], profile=APIS[api].profile)
    return ADAPTERS[api].connect(options, None)


@pytest.mark.parametrize("way", ["native", "tools"])
async def test_a_run_spills_from_each_api_to_each_other(
    temporal: Client, fakes: dict[str, FakeService], way: Way
) -> None:
    turns = Turns()
    endpoints: dict[str, Endpoint] = {}
    for api, fake in fakes.items():
        fake.received.clear()
        fake.refusals.clear()
        fake.script = turns.script(api)
        server = connected(api, fake)
        ways = (await server.probe()).ways
        endpoints[api] = Endpoint(server, 4_096, ways=(way, *(o for o in ways if o != way)))
    async with on_stage(temporal, endpoints, [clerk], settings=settings_for(fakes)) as stage:
        result = await stage.run("clerk", "Begin.")
    for endpoint in endpoints.values():
        await endpoint.server.aclose()
    assert result.output == "done"
    assert tuple(turns.served) == ORDER
    assert {api: fake.refusals for api, fake in fakes.items()} == {api: [] for api in fakes}
    assert result.usage.reasoning_tokens > 0
    last = json.dumps(fakes["anthropic"].bodies()[-1])
    own = sum(api == "anthropic" for api in ORDER[:-1])
    assert last.count("anthropic thinks in turn") == own, "its own thoughts go back"
    assert "openai-responses thinks" not in last
    assert "encrypted_content" not in last
    assert all(f"{api} {n}.2" in last for n, api in enumerate(ORDER[:-1], start=1))


@pytest.mark.parametrize("way", ["native", "tools"])
async def test_images_of_the_transcript_spill_to_each_api(
    temporal: Client, fakes: dict[str, FakeService], way: Way, tmp_path: Path
) -> None:
    turns = Turns()
    endpoints: dict[str, Endpoint] = {}
    for api, fake in fakes.items():
        fake.received.clear()
        fake.refusals.clear()
        fake.script = turns.script(api)
        server = connected(api, fake)
        facts = await server.probe()
        assert facts.images
        ways = (way, *(other for other in facts.ways if other != way))
        endpoints[api] = Endpoint(server, 4_096, ways=ways, images=facts.images, files=facts.files)
    media = MediaSettings(store=tmp_path.as_uri())
    settings = settings_for(fakes).model_copy(update={"media": media})
    async with on_stage(temporal, endpoints, [viewer], settings=settings) as stage:
        result = await stage.run(viewer, ["Begin.", PHOTO])
    for endpoint in endpoints.values():
        await endpoint.server.aclose()
    assert result.output == "done"
    assert tuple(turns.served) == ORDER
    assert {api: fake.refusals for api, fake in fakes.items()} == {api: [] for api in fakes}
    queries = [f"{api} {n}.{i}" for n, api in enumerate(ORDER[:-1], start=1) for i in (1, 2)]
    wanted = [PHOTO.data, *(PNG + query.encode() for query in queries)]
    for api, fake in fakes.items():
        shown = [data for _, data in media_in(fake.bodies()[-1])]
        assert shown == wanted[: len(shown)], api
        turn = len(ORDER) - 1 - ORDER[::-1].index(api)
        assert len(shown) >= 1 + 2 * turn, api


@pytest.mark.parametrize("api", MODELS)
async def test_the_examples_run_unchanged(
    temporal: Client, fakes: dict[str, FakeService], api: str
) -> None:
    fake = fakes[api]
    fake.refusals.clear()
    fake.script = lambda _body: Play(plausible=True)
    server = connected(api, fake)
    ways = (await server.probe()).ways
    agents = [dependency_review.dependency_review, refund_desk.refund_desk]
    for way in ways:
        endpoint = Endpoint(server, 4_096, ways=(way,))
        async with on_stage(temporal, {DEFAULT_SERVER: endpoint}, agents) as stage:
            review = await stage.run("dependency-review", "rich")
            assert (review.status, review.tool_calls) == ("completed", 2)
            if (
                way != "decision"
            ):  # its schema may lead the fake to a refund, which a person must approve
                refund = await stage.run("refund-desk", "My order A-1042 arrived broken.")
                assert (refund.status, refund.tool_calls) == ("completed", 1)
    await server.aclose()
    assert fake.refusals == []


def agent_of_readme() -> Agent[Any, Any]:
    """Return the agent that the README shows."""
    module: dict[str, Any] = {"__name__": "weather_agents"}
    exec(files_of("README.md")["weather_agents.py"], module)  # noqa: S102 our own page
    agent: Agent[Any, Any] = module["weather_advice"]
    return agent


OSLO = {"city": "Oslo"}
ADVICE = {"umbrella": True, "mood": "gloomy"}


def weather_plays(way: Way) -> list[Play]:
    """Return what a model does that books a taxi. In the way `decision` it writes JSON."""
    names = ("forecast", "book_taxi")
    if way != "decision":
        return [*(Play(calls=[(name, OSLO)]) for name in names), Play(answer=ADVICE)]
    forecast, taxi = ({"tool": name, "arguments": OSLO} for name in names)
    # Where a turn has a choice, the root of the schema is a property.
    decisions = [
        {"tool_calls": [forecast]},
        {"value": {"tool_calls": [taxi]}},
        {"answer": ADVICE},
    ]
    return [Play(text=json.dumps(decision)) for decision in decisions]


@pytest.mark.parametrize("api", MODELS)
async def test_the_agent_of_the_readme_runs_on_each_api_in_each_way(
    temporal: Client, fakes: dict[str, FakeService], api: str
) -> None:
    fake = fakes[api]
    fake.refusals.clear()
    server = connected(api, fake)
    for way in (await server.probe()).ways:
        fake.play(*weather_plays(way))
        endpoint = Endpoint(server, 4_096, ways=(way,))
        agents = [agent_of_readme()]
        async with on_stage(temporal, {DEFAULT_SERVER: endpoint}, agents) as stage:
            run = await stage.start("weather-advice", "Oslo, please")
            request = await pending(run)
            await run.approve(request, by="ann")
            result = await run.result()
        assert (result.status, result.output_json) == ("completed", ADVICE), way
    await server.aclose()
    assert fake.refusals == []

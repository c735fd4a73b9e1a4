"""The adapters of hosted APIs against fakes that refuse what the services refuse."""

import contextlib
import itertools
import json
import re
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, get_args

import pytest
import pytest_asyncio
from outlast_activities.policies.schema_checker import SchemaChecker
from outlast_activities.providers.hosted import gemini
from outlast_activities.providers.registry import ADAPTERS, connected

from bench.engines.prompts import agent_of, is_of
from bench.engines.types import TYPES, OutputType
from outlast.agents.agent import Agent
from outlast.contracts.agents import Effort, Way
from outlast.contracts.messages import Opaque
from outlast.errors import ModelError, ModelFailure, NotReady
from outlast.model_server import Completion, ModelServer, Prompt, ServerOptions
from outlast.turns import RejectedText, UserTurn
from tests.fakes.fake_anthropic import FakeAnthropic
from tests.fakes.fake_gemini import FakeGemini
from tests.fakes.fake_openai_chat import FakeOpenAIChat
from tests.fakes.fake_openai_responses import FakeOpenAIResponses
from tests.fakes.prompts import GO, open_file, prompt_for, search, step
from tests.fakes.service import FakeService, Play, serving


@dataclass(frozen=True)
class Api:
    """An API under test: its fake, and the models that differ in what they accept."""

    fake: Callable[[], FakeService]
    models: tuple[str, ...]
    profile: str | None = None


APIS: Mapping[str, Api] = {
    "anthropic": Api(
        FakeAnthropic,
        (
            *("claude-opus-5-5", "claude-sonnet-5-5", "claude-haiku-5-5"),
            *("claude-sonnet-4-6", "claude-haiku-4-5"),
        ),
    ),
    "openai-responses": Api(
        FakeOpenAIResponses,
        ("gpt-6-sol", "gpt-6-astra", "gpt-5.4", "gpt-5-mini", "o3", "gpt-4.1"),
    ),
    "openai-chat": Api(
        FakeOpenAIChat, ("gpt-4.1", "gpt-5-mini", "o3", "gpt-5.4"), profile="openai"
    ),
    "gemini": Api(
        FakeGemini,
        (
            "gemini-3.5-flash",
            "gemini-3.1-pro",
            "gemini-3-pro",
            "gemini-2.5-flash",
            "gemini-2.5-pro",
        ),
    ),
}
MODELS = [(api, model) for api, row in APIS.items() for model in row.models]
WITHOUT_NATIVE = ("gemini-2.5-flash", "gemini-2.5-pro")
WITHOUT_THOUGHTS = ("gpt-4.1",)
WAYS: tuple[Way, ...] = ("native", "tools", "decision")


clerk = Agent(
    name="clerk", instructions="Answer from the documents.", tools=[search, open_file], output=str
)


@pytest_asyncio.fixture(scope="module")
async def fakes() -> AsyncIterator[dict[str, FakeService]]:
    with contextlib.ExitStack() as stack:
        served = {api: stack.enter_context(serving(row.fake())) for api, row in APIS.items()}
        yield served
        for fake in served.values():
            for server in fake.servers.values():
                await server.aclose()


@pytest.fixture(params=MODELS, ids=lambda param: param[1])
def service(
    request: pytest.FixtureRequest, fakes: dict[str, FakeService]
) -> tuple[str, str, FakeService]:
    api, model = request.param
    fake = fakes[api]
    fake.received.clear()
    fake.refusals.clear()
    return api, model, fake


async def server_of(api: str, model: str, fake: FakeService) -> ModelServer:
    """Return the adapter of a model. All tests of a module share it, because a connection costs time."""
    if model not in fake.servers:
        options = ServerOptions(
            url=fake.url, api=api, api_key=fake.key, model=model, profile=APIS[api].profile
        )
        fake.servers[model] = ADAPTERS[api].connect(options, None)
    server: ModelServer = fake.servers[model]
    return server


async def complete(
    service: tuple[str, str, FakeService], prompt: Prompt, *plays: Play
) -> Completion:
    api, model, fake = service
    if plays:
        fake.play(*plays)
    server = await server_of(api, model, fake)
    return await server.complete(prompt)


def best_way(model: str) -> Way:
    """Return the best way of a model: Gemini before 3 takes no answer schema beside tools."""
    return "tools" if model in WITHOUT_NATIVE else "native"


def skip_impossible(model: str, way: Way) -> None:
    if way == "native" and model in WITHOUT_NATIVE:
        pytest.skip("this model takes no answer schema beside tools")


def decision_in(completion: Completion) -> Any:
    return json.loads(completion.text)


def in_way(way: Way, play: Play) -> Play:
    """Return a play for the way `decision`, in which calls and answers are text of the model."""
    if way != "decision":
        return play
    calls = [{"tool": name, "arguments": arguments} for name, arguments in play.calls]
    decision = {"tool_calls": calls} if calls else {"answer": play.answer}
    return Play(text=json.dumps({"value": decision}), thoughts=play.thoughts)


@pytest.mark.parametrize("way", WAYS)
async def test_calls_and_an_answer(service: tuple[str, str, FakeService], way: Way) -> None:
    _, model, fake = service
    skip_impossible(model, way)
    calls = [("search", {"query": "a"}), ("open_file", {"path": "b"})]
    first = await complete(service, prompt_for(clerk, way), in_way(way, Play(calls=calls)))
    assert fake.refusals == []
    assert decision_in(first) == {
        "tool_calls": [
            {"tool": "search", "arguments": {"query": "a"}},
            {"tool": "open_file", "arguments": {"path": "b"}},
        ]
    }
    assert first.finish_reason == "stop"
    turns = (
        GO,
        *step(
            ("search", {"query": "a"}, ["x"]),
            ("open_file", {"path": "b"}, "y"),
            opaque=first.opaque,
        ),
    )
    last = await complete(service, prompt_for(clerk, way, turns), in_way(way, Play(answer="done")))
    assert fake.refusals == []
    assert decision_in(last) == {"answer": "done"}
    assert last.prompt_tokens > 0
    assert last.completion_tokens > 0


@pytest.mark.parametrize("way", WAYS)
async def test_the_text_of_an_answer_is_shown_while_it_is_written(
    service: tuple[str, str, FakeService], way: Way
) -> None:
    _, model, _ = service
    skip_impossible(model, way)
    shown: list[str] = []
    prompt = replace(prompt_for(clerk, way), on_text=shown.append)
    text = 'He said "a \\ b",\nand left 🙂 and more.'
    done = await complete(service, prompt, in_way(way, Play(answer=text, thoughts="Hm, hm, hm.")))
    assert decision_in(done) == {"answer": text}
    assert "".join(shown) == text
    # Gemini sends the arguments of a call in one piece.
    assert len(list(filter(None, shown))) > 1 or (model.startswith("gemini") and way == "tools")
    calling = Play(calls=[("search", {"query": "answer"})])
    shown.clear()
    await complete(service, prompt, in_way(way, calling))
    assert "".join(shown) == ""


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("api", APIS)
async def test_a_value_of_each_type_comes_back(
    fakes: dict[str, FakeService], api: str, way: Way
) -> None:
    fake = fakes[api]
    fake.refusals.clear()
    server = await server_of(api, APIS[api].models[0], fake)
    for kind in TYPES:
        fake.play(Play(plausible=True))
        await complete_value(server, kind, way, recurses=api != "anthropic")
    assert fake.refusals == []


async def complete_value(
    server: ModelServer, kind: OutputType, way: Way, *, recurses: bool
) -> None:
    prompt = prompt_for(agent_of(kind), way)
    if way == "decision" and "recursion" in kind.name and not recurses:
        with pytest.raises(ModelError, match="contains itself") as refused:
            await server.complete(prompt)
        assert refused.value.kind is ModelFailure.BAD_REQUEST
        return
    completion = await server.complete(prompt)
    decision = decision_in(completion)
    assert SchemaChecker().problem(decision, prompt.schema, key=prompt.schema_key) is None
    assert is_of(kind, decision["answer"])


@pytest.mark.parametrize("way", ["native", "tools"])
async def test_the_tools_and_the_answer_schema_stay_the_same_in_a_run(
    service: tuple[str, str, FakeService], way: Way
) -> None:
    _, model, fake = service
    skip_impossible(model, way)
    turns = (GO, *step(("search", {"query": "a"}, ["x"])))
    narrowed: list[dict[str, Any]] = [
        {},
        {"allowed": ["search"]},
        {"max_calls": 1},
        {"may_answer": False},
        {"max_calls": 0},
    ]
    for narrow in narrowed:
        play = (
            Play(answer="done")
            if narrow == {"max_calls": 0}
            else Play(calls=[("search", {"query": "b"})])
        )
        completion = await complete(service, prompt_for(clerk, way, turns, **narrow), play)
        expected = "answer" if narrow == {"max_calls": 0} else "tool_calls"
        assert list(decision_in(completion)) == [expected]
    assert fake.refusals == []
    fixed = [fixed_part(body) for body in fake.bodies()]
    assert all(part == fixed[0] for part in fixed)


def fixed_part(body: Any) -> str:
    """Return what must not change in a run, so that the service's cache holds it."""
    names = (
        "model",
        "system",
        "instructions",
        "systemInstruction",
        "tools",
        "output_config",
        "text",
    )
    generation = body.get("generationConfig") or {}
    schemas = {name: generation.get(name) for name in ("responseJsonSchema", "responseMimeType")}
    return json.dumps([{name: body.get(name) for name in names}, schemas], sort_keys=True)


async def test_thoughts_go_back_unchanged_and_only_after_an_unchanged_prefix(
    service: tuple[str, str, FakeService],
) -> None:
    api, model, fake = service
    way = best_way(model)
    if model in WITHOUT_THOUGHTS or api == "openai-chat":
        pytest.skip("this model does not return its thoughts")
    call = Play(calls=[("search", {"query": "a"})], thoughts="First I search.")
    first = await complete(service, prompt_for(clerk, way), call)
    assert first.opaque is not None
    assert first.reasoning_tokens > 0
    turns = (GO, *step(("search", {"query": "a"}, ["x"]), opaque=first.opaque))
    await complete(service, prompt_for(clerk, way, turns), Play(answer="done"))
    assert has_thoughts(fake.bodies()[-1])
    # The service binds thoughts to their prefix, and the first message is another one now.
    changed = (UserTurn("Begin again."), *turns[1:])
    await complete(service, prompt_for(clerk, way, changed), Play(answer="done"))
    foreign = Opaque(issuer="anthropic:elsewhere:claude", content=first.opaque.content)
    spilled = (GO, *step(("search", {"query": "a"}, ["x"]), opaque=foreign))
    await complete(service, prompt_for(clerk, way, spilled), Play(answer="done"))
    assert not has_thoughts(fake.bodies()[-1])
    broken = Opaque(issuer=first.opaque.issuer, content="{")
    await complete(
        service,
        prompt_for(clerk, way, (GO, *step(("search", {}, "x"), opaque=broken))),
        Play(answer="done"),
    )
    assert fake.refusals == []


def has_thoughts(body: Any) -> bool:
    text = json.dumps(body).replace(gemini.NO_SIGNATURE, "")
    return re.search(r'"(signature|encrypted_content|thoughtSignature)": "[^"]', text) is not None


@pytest.mark.parametrize("way", WAYS)
async def test_a_wrong_answer_is_shown_again_at_the_end(
    service: tuple[str, str, FakeService], way: Way
) -> None:
    _, model, fake = service
    skip_impossible(model, way)
    turns = (GO, *step(("search", {"query": "a"}, ["x"])))
    rejected = RejectedText('{"answer": 7}', "answer: 7 is not of type 'string'")
    prompt = prompt_for(clerk, way, turns, rejected=rejected)
    completion = await complete(service, prompt, in_way(way, Play(answer="done")))
    assert decision_in(completion) == {"answer": "done"}
    assert fake.refusals == []
    assert "is not of type 'string'" in json.dumps(fake.bodies()[-1])


async def test_each_effort_is_accepted(service: tuple[str, str, FakeService]) -> None:
    _, model, fake = service
    efforts: tuple[Effort, ...] = get_args(Effort)
    for effort, may_answer in itertools.product(efforts, (True, False)):
        prompt = prompt_for(
            clerk, best_way(model), effort=effort, may_answer=may_answer, max_tokens=2_000
        )
        await complete(service, prompt, Play(calls=[("search", {"query": "a"})]))
    assert fake.refusals == []


async def test_an_answer_that_is_cut_off_says_so(
    service: tuple[str, str, FakeService],
) -> None:
    _, model, _ = service
    cut = Play(answer="a long answer that does not fit", truncated=True)
    completion = await complete(service, prompt_for(clerk, best_way(model)), cut)
    assert completion.finish_reason == "length"
    with pytest.raises(ValueError, match=r".*"):
        decision_in(completion)


async def test_a_probe_describes_the_model(service: tuple[str, str, FakeService]) -> None:
    api, model, fake = service
    server = await server_of(api, model, fake)
    facts = await server.probe()
    assert await server.is_reachable()
    count = await server.count_prompt_tokens(prompt_for(clerk, best_way(model)))
    assert facts.model == model
    assert facts.constrained
    assert "tools" in facts.ways
    assert (facts.context_tokens is None) == api.startswith("openai")
    assert facts.ways[0] == best_way(model)
    assert count > 10
    assert fake.refusals == []


@pytest.mark.parametrize("api", APIS)
async def test_bad_settings_are_one_line(fakes: dict[str, FakeService], api: str) -> None:
    fake = fakes[api]
    options = ServerOptions(url=fake.url, api=api, profile=APIS[api].profile)
    with pytest.raises(NotReady, match="needs the name of a model"):
        ADAPTERS[api].connect(options, None)
    unnamed = await server_of(api, "no-such-model", fake)
    with pytest.raises(ModelError) as unknown:
        await unnamed.complete(prompt_for(clerk, "tools"))
    assert unknown.value.kind is ModelFailure.UNKNOWN_MODEL
    wrong = replace(options, api_key="wrong-key-0123456789", model="x")
    server = ADAPTERS[api].connect(wrong, None)
    with pytest.raises(ModelError) as denied:
        await server.complete(prompt_for(clerk, "native"))
    await server.aclose()
    assert denied.value.kind is ModelFailure.AUTHENTICATION
    assert "wrong-key" not in str(denied.value)


@pytest.mark.parametrize(
    ("api", "url"),
    [
        ("anthropic", "https://api.anthropic.com/v1"),
        ("openai-responses", "https://me.openai.azure.com/openai/v1"),
        ("gemini", "https://generativelanguage.googleapis.com/v1beta"),
        ("openai-chat", "https://api.mistral.ai/v1"),
    ],
)
def test_a_service_needs_a_key_and_a_gateway_may_not(api: str, url: str) -> None:
    options = ServerOptions(url, api=api, model="m")
    with pytest.raises(NotReady, match="needs an api_key"):
        connected(options, None)
    connected(replace(options, url="https://gateway.example.com/v1"), None)

"""Chat completions against fakes of hosted services that refuse what the services refuse."""

import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any, get_args

import pytest
from outlast_activities.policies.schema_checker import SchemaChecker
from outlast_activities.providers.chat_completions import ChatCompletions
from outlast_activities.providers.profiles import profile_names, profile_of

from bench.engines.prompts import agent_of, is_of
from bench.engines.types import TYPES
from outlast.agents.agent import Agent
from outlast.contracts.agents import Effort, Way
from outlast.errors import ModelError, ModelFailure
from outlast.model_server import Completion, Decoding, Prompt, ServerOptions
from outlast.turns import RejectedText
from tests.fakes.chat_service_rules import SERVICES
from tests.fakes.fake_chat_services import FakeChatService
from tests.fakes.prompts import GO, open_file, prompt_for, search, step
from tests.fakes.service import Play, serving

WAYS = [
    pytest.param(service, way, id=f"{service}-{way}")
    for service, rules in SERVICES.items()
    for way in profile_of("", rules.model, service).ways
]


clerk = Agent(
    name="clerk", instructions="Answer from the documents.", tools=[search, open_file], output=int
)
CALLS = [("search", {"query": "a"}), ("open_file", {"path": "b"})]
DECISION = {
    "tool_calls": [
        {"tool": "search", "arguments": {"query": "a"}},
        {"tool": "open_file", "arguments": {"path": "b"}},
    ]
}


@pytest.fixture(scope="module")
def fakes() -> Iterator[dict[str, FakeChatService]]:
    with contextlib.ExitStack() as stack:
        yield {name: stack.enter_context(serving(FakeChatService(name))) for name in SERVICES}


@pytest.fixture
def fake(request: pytest.FixtureRequest, fakes: dict[str, FakeChatService]) -> FakeChatService:
    served = fakes[request.node.callspec.params["service"]]
    served.received.clear()
    served.refusals.clear()
    return served


@asynccontextmanager
async def server_of(fake: FakeChatService) -> AsyncIterator[ChatCompletions]:
    options = ServerOptions(
        fake.url, api_key=fake.key, model=fake.rules.model, profile=fake.service
    )
    server = ChatCompletions(options)
    try:
        yield server
    finally:
        await server.aclose()


async def complete(fake: FakeChatService, prompt: Prompt, play: Play) -> Completion:
    fake.play(in_way(fake, prompt, play))
    async with server_of(fake) as server:
        return await server.complete(prompt)


def in_way(fake: FakeChatService, prompt: Prompt, play: Play) -> Play:
    """Return a play for the way `decision`, in which calls and answers are text of the model."""
    if prompt.way != "decision" or play.text is not None or play.error or play.truncated:
        return play
    calls = [{"tool": name, "arguments": arguments} for name, arguments in play.calls]
    decision: Any = {"tool_calls": calls} if calls else {"answer": play.answer}
    # The root of a strict schema is an object, so a choice is the value of a property.
    is_wrapped = fake.rules.strict_schemas and "anyOf" in prompt.schema
    text = json.dumps({"value": decision} if is_wrapped else decision)
    return Play(text=text, thoughts=play.thoughts)


def test_each_profile_has_a_fake() -> None:
    assert {*SERVICES} == {*profile_names()} - {"gemini"}, "gemini has an API of its own"


@pytest.mark.parametrize(("service", "way"), WAYS)
async def test_a_run_of_calls_results_and_an_answer(
    fake: FakeChatService, service: str, way: Way
) -> None:
    thoughts = "" if fake.service == "openai" else "First I search, then I open it."
    first = await complete(fake, prompt_for(clerk, way), Play(calls=CALLS, thoughts=thoughts))
    assert fake.refusals == []
    assert json.loads(first.text) == DECISION
    sent = fake.bodies()[0]
    if "stream_options" in sent or not sent["stream"]:
        assert (first.prompt_tokens, first.cached_prompt_tokens) == (100, 30)
        assert first.cache_write_tokens == 10
    made = step(
        ("search", {"query": "a"}, ["x"]), ("open_file", {"path": "b"}, "y"), opaque=first.opaque
    )
    last = await complete(fake, prompt_for(clerk, way, (GO, *made)), Play(answer=7))
    assert fake.refusals == []
    assert json.loads(last.text) == {"answer": 7}
    if way != "decision" and profile_of("", fake.rules.model, service).thoughts:
        sent = next(message for message in fake.bodies()[-1]["messages"] if "tool_calls" in message)
        assert "First I search" in json.dumps(sent)


@pytest.mark.parametrize(("service", "way"), WAYS)
async def test_every_narrowing_is_accepted(fake: FakeChatService, service: str, way: Way) -> None:
    turns = (GO, *step(("search", {"query": "a"}, ["x"])))
    narrowed: list[dict[str, Any]] = [
        {},
        {"allowed": ["search"]},
        {"max_calls": 1},
        {"may_answer": False},
        {"allowed": ["search"], "may_answer": False},
        {"max_calls": 0},
        {"rejected": RejectedText('{"answer": "x"}', "answer: 'x' is not of type 'integer'")},
    ]
    for narrow in narrowed:
        only_answer = narrow == {"max_calls": 0}
        play = Play(answer=7) if only_answer else Play(calls=[("search", {"query": "b"})])
        completion = await complete(fake, prompt_for(clerk, way, turns, **narrow), play)
        assert list(json.loads(completion.text)) == ["answer" if only_answer else "tool_calls"]
    assert fake.refusals == []
    heads = {json.dumps(body["messages"][:3]) for body in fake.bodies()}
    assert len(heads) == 1, "a prompt only grows at its end"


@pytest.mark.parametrize(("service", "way"), WAYS)
async def test_every_effort_and_remedy_is_accepted(
    fake: FakeChatService, service: str, way: Way
) -> None:
    for effort in (None, *get_args(Effort)):
        await complete(fake, prompt_for(clerk, way, effort=effort), Play(calls=CALLS))
    for decoding in (Decoding(compact_json=True), Decoding(temperature="higher")):
        prompt = prompt_for(clerk, way)
        prompt = Prompt(**{**vars_of(prompt), "decoding": decoding})
        await complete(fake, prompt, Play(answer=7))
    assert fake.refusals == []


def vars_of(prompt: Prompt) -> dict[str, Any]:
    return {name: getattr(prompt, name) for name in prompt.__dataclass_fields__}


@pytest.mark.parametrize(("service", "way"), WAYS)
async def test_a_value_of_each_type_comes_back(
    fake: FakeChatService, service: str, way: Way
) -> None:
    async with server_of(fake) as server:
        for kind in TYPES[::4]:
            fake.play(Play(plausible=True))
            prompt = prompt_for(agent_of(kind), way)
            completion = await server.complete(prompt)
            decision = json.loads(completion.text)
            problem = SchemaChecker().problem(decision, prompt.schema, key=prompt.schema_key)
            # Without strict schemas the fake's model may break limits, and a worker asks again.
            if fake.rules.strict_schemas:
                assert problem is None, kind.name
            if problem is None:
                assert is_of(kind, decision["answer"]), kind.name
    assert fake.refusals == []


@pytest.mark.parametrize(("service", "way"), WAYS)
async def test_answers_that_end_badly_have_their_class(
    fake: FakeChatService, service: str, way: Way
) -> None:
    cut_off = await complete(fake, prompt_for(clerk, way), Play(answer=123_456, truncated=True))
    assert cut_off.finish_reason == "length"
    error = {"error": {"message": "slow down", "type": "rate_limit_error"}}
    for play, kind in (
        (Play(refusal="I cannot."), ModelFailure.REFUSAL),
        (Play(text='{"ans', cut=True), ModelFailure.CONNECTION),
        (Play(stream_error={"error": {"message": "overloaded", "code": 529}}), "any"),
        (Play(error=(429, error, {"retry-after": "7"})), ModelFailure.THROTTLED),
        (Play(error=(402, {"error": {"code": "billing_error"}}, {})), ModelFailure.AUTHENTICATION),
    ):
        if (
            (play.cut or play.stream_error)
            and not fake.rules.format_in_stream
            and way == "decision"
        ):
            continue
        fake.play(play)
        async with server_of(fake) as server:
            with pytest.raises(ModelError) as raised:
                await server.complete(prompt_for(clerk, way))
        assert kind in (raised.value.kind, "any")
    assert fake.refusals == []


@pytest.mark.parametrize("service", SERVICES)
async def test_the_probe_costs_no_prompt(fake: FakeChatService, service: str) -> None:
    async with server_of(fake) as server:
        facts = await server.probe()
        assert await server.is_reachable()
    assert facts.model == fake.rules.model
    assert facts.ways == profile_of("", fake.rules.model, service).ways
    assert fake.bodies() == []

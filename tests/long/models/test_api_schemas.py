"""A thousand generated schemas in each dialect: accepted by the API's rules, or refused with a path."""

import itertools
import random
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from outlast_activities.constraints.api_dialects import ANTHROPIC, GEMINI, OPENAI, SchemaDialect
from outlast_activities.constraints.api_parts import NotExpressible
from outlast_activities.constraints.api_schemas import api_schema
from outlast_activities.leg_checks import KnownServer, LegChecks
from outlast_activities.policies.schema_checker import SchemaChecker
from outlast_activities.providers.chat_completions import ChatCompletions
from outlast_activities.providers.hosted.anthropic_messages import AnthropicMessages
from outlast_activities.providers.hosted.gemini import Gemini
from outlast_activities.providers.hosted.openai_responses import OpenAIResponses
from outlast_activities.providers.hosted.server import ApiRequest, PreparedPrompt
from outlast_activities.providers.registry import adapter_of

from outlast.contracts.agents import Leg, PinnedAgent, Route, ToolSpec, Way
from outlast.errors import ModelError
from outlast.jsonschema.schema_checks import check_schema
from outlast.model_server import Prompt, ServerOptions
from outlast.text.json_text import to_json
from tests.activities.constraints.schema_strategies import SCHEMAS
from tests.fakes.fake_anthropic import FakeAnthropic
from tests.fakes.fake_gemini import FakeGemini
from tests.fakes.fake_openai_chat import FakeOpenAIChat
from tests.fakes.fake_openai_responses import FakeOpenAIResponses
from tests.fakes.plausible import plausible
from tests.fakes.prompts import prompt_for
from tests.fakes.schema_rules import anthropic_problem, gemini_problem, openai_problem
from tests.fakes.service import FakeService, Play, Received, Refused

RULES = {
    "openai": (OPENAI, openai_problem),
    "anthropic": (ANTHROPIC, anthropic_problem),
    "gemini": (GEMINI, gemini_problem),
}
EXAMPLES = 1_000

LEAST_VALID = 0.75
"""The share of values that are valid at once. Generated schemas are full of what no API enforces: `not`,
contradictions between branches, patterns with look-around. The check rejects the other values."""


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", RULES)
def test_generated_schemas_are_accepted_or_refused_with_a_path(name: str) -> None:
    dialect, problem_of = RULES[name]
    seen: Counter[str] = Counter()

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    )
    @given(schema=SCHEMAS)
    def convert(schema: dict[str, Any]) -> None:
        seen[_outcome(schema, dialect, problem_of)] += 1

    convert()
    print(name, dict(seen))
    assert not [outcome for outcome in seen if outcome.startswith("refused: ")]
    assert seen["valid"] + seen["rejected by the check"] > EXAMPLES / 2
    assert seen["valid"] / (seen["valid"] + seen["rejected by the check"]) > LEAST_VALID


def _outcome(schema: dict[str, Any], dialect: SchemaDialect, problem_of: Any) -> str:
    try:
        check_schema(schema, "output")
    except ValueError:
        return "refused when the agent is defined"
    definitions = schema.pop("$defs")
    wrapped = {
        "type": "object",
        "properties": {"answer": schema},
        "required": ["answer"],
        "additionalProperties": False,
        "$defs": definitions,
    }
    try:
        converted = api_schema(wrapped, dialect)
    except NotExpressible as refused:
        has_path = str(refused).startswith((".", "no value"))
        return "refused with a path" if has_path else f"refused: {refused}"
    assert problem_of(converted.schema) is None, (problem_of(converted.schema), converted.schema)
    value = converted.restore(plausible(converted.schema, random.Random(7)))
    problem = SchemaChecker().problem(value, wrapped, key=to_json(wrapped))
    return "valid" if problem is None else "rejected by the check"


WAYS: tuple[Way, ...] = ("native", "tools", "decision")


@pytest.mark.timeout(600)
def test_no_generated_schema_that_was_resolved_fails_in_a_run() -> None:
    seen: Counter[str] = Counter()

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    )
    @given(schema=SCHEMAS)
    def resolve_and_send(schema: dict[str, Any]) -> None:
        agent = _agent(schema)
        if agent is None:
            seen["refused when the agent is defined"] += 1
            return
        for (api, sender), way in itertools.product(SENDERS.items(), WAYS):
            seen[f"{api}, {way}: {sender.outcome(agent, way)}"] += 1

    resolve_and_send()
    print(*sorted(seen.items()), sep="\n")
    outcomes = {outcome.partition(": ")[2] for outcome in seen}
    assert outcomes <= {"", "accepted", "refused at resolve"}
    for api, way in itertools.product(SENDERS, WAYS):
        assert seen[f"{api}, {way}: accepted"] > EXAMPLES / 4
        assert way == "decision" or not seen[f"{api}, {way}: refused at resolve"]


def _agent(schema: dict[str, Any]) -> PinnedAgent | None:
    """Return an agent with a schema as its output and for its tool, or None if it cannot be defined."""
    definitions = schema.get("$defs", {})
    parameters: dict[str, Any] = {
        "type": "object",
        "properties": {"value": {key: schema[key] for key in schema if key != "$defs"}},
        "required": ["value"],
        "$defs": definitions,
    }
    try:
        check_schema(parameters, "parameters", arguments=True)
        check_schema(schema, "output")
    except ValueError:
        return None
    return PinnedAgent(
        name="any",
        instructions="Answer.",
        tools=(ToolSpec(name="look", parameters=parameters),),
        output_schema=schema,
        route=Route(legs=(Leg(task_queue="agents", server="one"),)),
    )


class Sender:
    """Resolves an agent for one API, and gives the first request of its run to the rules of the fake."""

    def __init__(self, api: str, hosted: Any, fake: FakeService, model: str) -> None:
        self._hosted, self._fake, self._model = hosted, fake, model
        profile = "openai" if api == "openai-chat" else None
        options = ServerOptions(f"https://{api}.example", api, model=model, profile=profile)
        self._checks = LegChecks({"one": KnownServer(options, adapter_of(api).rules)})
        fake.script = lambda _body: Play(answer="sent")

    def outcome(self, agent: PinnedAgent, way: Way) -> str:
        agent = agent.model_copy(update={"way": way})
        if self._checks.problem(agent) is not None:
            return "refused at resolve"
        for most in (None, 0) if way == "decision" else (None,):
            prompt = prompt_for(agent, way, max_calls=most)
            try:
                request = self._hosted.prepare(prompt, self._model, "issuer").request
                path = self._fake.base_path + request.path
                self._fake.answer(Received(path, self._headers(), request.body))
            except ModelError as error:
                return f"fails in a run: {error.message}"
            except Refused as refused:
                return f"the service refuses: {refused.message}"
        return "accepted"

    def _headers(self) -> dict[str, str]:
        name = self._hosted.key_header
        key = f"Bearer {self._fake.key}" if name == "authorization" else self._fake.key
        return {**self._hosted.headers, name: key}


class OpenAIChat:
    """The requests of OpenAI's chat completions, in the form of the other APIs."""

    key_header = "authorization"
    headers: Mapping[str, str] = {}

    def __init__(self, model: str) -> None:
        url = "https://api.openai.com/v1"
        options = ServerOptions(url, api_key="k", model=model, profile="openai")
        self._server: Any = ChatCompletions(options)

    def prepare(self, prompt: Prompt, model: str, issuer: str) -> PreparedPrompt:
        body, answer = self._server._prepared(prompt, model, self._server.engine, issuer)
        return PreparedPrompt(ApiRequest("/chat/completions", body), answer)


SENDERS = {
    "anthropic": Sender("anthropic", AnthropicMessages(), FakeAnthropic(), "claude-haiku-4-5"),
    "openai-responses": Sender(
        "openai-responses",
        OpenAIResponses("https://api.openai.com/v1"),
        FakeOpenAIResponses(),
        "gpt-6-sol",
    ),
    "gemini": Sender("gemini", Gemini(), FakeGemini(), "gemini-3.5-flash"),
    "openai-chat": Sender("openai-chat", OpenAIChat("gpt-4.1"), FakeOpenAIChat(), "gpt-4.1"),
}

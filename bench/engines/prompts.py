"""Prompts for values of types, completed as in a run: the project's own path from agent to decision."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from outlast_activities.generation.attempt import GenerationAttempt
from outlast_activities.generation.endpoint import Endpoint
from outlast_activities.generation.prompt_source import PromptSource
from outlast_activities.policies.allowance import Allowance
from outlast_activities.policies.recovery import RULES
from outlast_activities.policies.schema_checker import SchemaChecker
from pydantic import TypeAdapter, ValidationError

from bench.engines.types import OutputType
from outlast.agents.agent import Agent
from outlast.contracts.agents import Leg, PinnedAgent, Route
from outlast.contracts.generation import Generation, Tokens
from outlast.contracts.messages import Message
from outlast.decision_prompts import decision_messages
from outlast.errors import ModelError, ModelFailure
from outlast.jsonschema.decision_schema import decision_schema
from outlast.model_server import Completion, ModelServer, OnTokens, Prompt, ServerFacts
from outlast.text.json_text import to_json
from outlast.turns import UserTurn

INSTRUCTIONS = "You answer questions briefly, in JSON."

CHECKER = SchemaChecker()

ATTEMPTS = 3
"""Attempts of a call that fails in a way that Temporal would retry, such as a closed connection."""


@dataclass
class RecordingServer:
    """A `ModelServer` around another one that records its answers and failures."""

    server: ModelServer
    answers: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    """The class of failure of each answer; empty if the server reported none."""

    async def complete(self, prompt: Prompt, *, on_tokens: OnTokens | None = None) -> Completion:
        """Return or raise what the other server does."""
        try:
            completion = await self.server.complete(prompt, on_tokens=on_tokens)
        except ModelError as error:
            self._record(error.text or str(error.message), error.kind)
            raise
        is_cut = completion.finish_reason == "length"
        self._record(completion.text, ModelFailure.TRUNCATED if is_cut else "")
        return completion

    async def count_prompt_tokens(self, prompt: Prompt) -> int:
        """Return the count of the other server."""
        return await self.server.count_prompt_tokens(prompt)

    async def probe(self) -> ServerFacts:
        """Probe the other server."""
        return await self.server.probe()

    async def is_reachable(self) -> bool:
        """Return whether the other server is reachable."""
        return await self.server.is_reachable()

    async def aclose(self) -> None:
        """Close the other server."""
        await self.server.aclose()

    def _record(self, text: str, failure: str) -> None:
        self.answers.append(text)
        self.failures.append(failure)

    def reasons(self) -> list[str]:
        """Return why each answer but the last was rejected."""
        return [failure or ModelFailure.SCHEMA_INVALID for failure in self.failures[:-1]]


def pinned(agent: Agent[Any, Any]) -> PinnedAgent:
    """Return an agent as a run pins it."""
    return PinnedAgent(
        name=agent.name,
        instructions=str(agent.instructions),
        tools=agent.tool_specs,
        output_schema=agent.output_schema,
        route=Route(legs=(Leg(task_queue="none"),)),
    )


def agent_of(kind: OutputType) -> PinnedAgent:
    """Return an agent without tools that answers with a value of a type."""
    return pinned(Agent(name="typist", instructions=INSTRUCTIONS, output=kind.annotation))


def prompt_source(
    agent: PinnedAgent, transcript: Sequence[Message], *, key: str, **narrowed: Any
) -> PromptSource:
    """Return the source of a turn's prompts. `narrowed` are keywords of `decision_schema`."""
    return PromptSource(
        agent=agent,
        transcript=transcript,
        schema=decision_schema(agent, **narrowed),
        schema_key=f"{key} {narrowed}",
        model=None,
        session="",
    )


async def generate(source: PromptSource, endpoint: Endpoint) -> Generation:
    """Make a model call as a run does, with retries if the failure is retryable. Raises `ModelError`."""
    for _ in range(ATTEMPTS - 1):
        try:
            return await _run_attempt(source, endpoint)
        except ModelError as error:
            if not RULES[error.kind].retryable:
                raise
    return await _run_attempt(source, endpoint)


async def _run_attempt(source: PromptSource, endpoint: Endpoint) -> Generation:
    attempt = GenerationAttempt(source, endpoint, CHECKER, Allowance(), spent=Tokens())
    try:
        return await attempt.generate()
    except ModelError as error:
        error.tokens = attempt.spent.model_dump()
        raise


async def generate_value(
    kind: OutputType, endpoint: Endpoint
) -> tuple[Generation, RecordingServer]:
    """Generate a value of a type. Return also what happened on the way. Raises `ModelError`."""
    recording = RecordingServer(endpoint.server)
    source = prompt_source(agent_of(kind), [user_message(kind.prompt)], key=kind.name)
    return await generate(source, replace(endpoint, server=recording)), recording


def unconstrained_messages(kind: OutputType) -> list[dict[str, str]]:
    """Return the same prompt for a request without a schema: the messages contain the schema."""
    agent = agent_of(kind)
    return decision_messages(
        agent.instructions, (), (UserTurn(kind.prompt),), shown_schema=agent.output_schema
    )


def user_message(text: str) -> Message:
    """Return a message of the user."""
    return Message(role="user", content=text)


def is_of(kind: OutputType, value: Any) -> bool:
    """Return whether pydantic accepts a value, as JSON, for the type."""
    try:
        TypeAdapter(kind.annotation).validate_json(to_json(value))
    except ValidationError:
        return False
    return True

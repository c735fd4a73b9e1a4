"""Questions about types, asked as a run asks them: the project's own path, from agent to decision."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from outlast_activities.generation.attempt import Asking, Endpoint, Question
from outlast_activities.generation.prompts import chat_messages
from outlast_activities.policies.allowance import Allowance
from outlast_activities.policies.recovery import RULES
from outlast_activities.policies.schema_checker import SchemaChecker
from pydantic import TypeAdapter, ValidationError

from bench.engines.types import OutputType
from outlast.agents import Agent
from outlast.contracts.agents import Leg, PinnedAgent, Route
from outlast.contracts.generation import Generation, Tokens
from outlast.contracts.messages import Message
from outlast.errors import ModelError, ModelFailure
from outlast.json_text import to_json
from outlast.jsonschema.decision_schema import decision_schema
from outlast.model_server import Completion, Model, OnTokens, Prompt

INSTRUCTIONS = "You answer questions briefly, in JSON."

CHECKER = SchemaChecker()

ATTEMPTS = 3
"""Of a call whose failure Temporal would retry: a connection that was closed, for one."""


@dataclass
class Recorded:
    """Fulfils `Model` over another one, and keeps why its answers were not the last."""

    model: Model
    answers: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    """Of each answer, the class of its failure; empty where none was seen as it came."""

    async def complete(self, prompt: Prompt, *, on_tokens: OnTokens | None = None) -> Completion:
        """Answer as the other model does."""
        try:
            completion = await self.model.complete(prompt, on_tokens=on_tokens)
        except ModelError as error:
            self._keep(error.text or str(error.message), error.kind)
            raise
        cut = completion.finish_reason == "length"
        self._keep(completion.text, ModelFailure.TRUNCATED if cut else "")
        return completion

    async def most_prompt_tokens(self, prompt: Prompt) -> int:
        """Count as the other model does."""
        return await self.model.most_prompt_tokens(prompt)

    def _keep(self, text: str, failure: str) -> None:
        self.answers.append(text)
        self.failures.append(failure)

    def reasons(self) -> list[str]:
        """Return why each answer but the last was not taken."""
        return [failure or ModelFailure.SCHEMA_INVALID for failure in self.failures[:-1]]


def pinned(agent: Agent) -> PinnedAgent:
    """Return an agent as a run of its own would use it."""
    return PinnedAgent(
        name=agent.name,
        instructions=agent.instructions,
        tools=agent.tool_specs,
        output_schema=agent.output_schema,
        route=Route(legs=(Leg(task_queue="none"),)),
    )


def agent_of(kind: OutputType) -> PinnedAgent:
    """Return an agent that answers with a type, and has no tools."""
    return pinned(Agent(name="typist", instructions=INSTRUCTIONS, output=kind.annotation))


def question_of(
    agent: PinnedAgent, transcript: Sequence[Message], *, key: str, **narrowed: Any
) -> Question:
    """Return the question that a turn asks; `narrowed` is what `decision_schema` takes."""
    return Question(
        agent=agent,
        transcript=transcript,
        schema=decision_schema(agent, **narrowed),
        schema_key=f"{key} {narrowed}",
        model=None,
        session="",
    )


async def asked(question: Question, endpoint: Endpoint) -> Generation:
    """Ask as a run does, attempt after attempt where its failure admits one. Raises `ModelError`."""
    for _ in range(ATTEMPTS - 1):
        try:
            return await _attempted(question, endpoint)
        except ModelError as error:
            if not RULES[error.kind].retryable:
                raise
    return await _attempted(question, endpoint)


async def _attempted(question: Question, endpoint: Endpoint) -> Generation:
    return await Asking(question, endpoint, CHECKER, Allowance(), spent=Tokens()).decided()


async def asked_for(kind: OutputType, endpoint: Endpoint) -> tuple[Generation, Recorded]:
    """Ask for a value of a type; the record tells what came on the way. Raises `ModelError`."""
    recorded = Recorded(endpoint.model)
    question = question_of(agent_of(kind), [said(kind.prompt)], key=kind.name)
    return await asked(question, replace(endpoint, model=recorded)), recorded


def unconstrained_messages(kind: OutputType) -> list[dict[str, str]]:
    """Return the same question for a server that is sent no schema: the model is shown it."""
    return chat_messages(agent_of(kind), [said(kind.prompt)], shows_schema=True)


def said(text: str) -> Message:
    """Return what a person says."""
    return Message(role="user", content=text)


def is_of(kind: OutputType, value: Any) -> bool:
    """Tell whether pydantic takes a value, as JSON, for one of the type."""
    try:
        TypeAdapter(kind.annotation).validate_json(to_json(value))
    except ValidationError:
        return False
    return True

"""Attempts of a model call whose model has a script."""

from collections.abc import Sequence
from typing import Any

from outlast_activities.generation.answer_check import Checker
from outlast_activities.generation.attempt import (
    GenerationAttempt,
)
from outlast_activities.generation.endpoint import Endpoint
from outlast_activities.generation.prompt_source import PromptSource
from outlast_activities.policies.allowance import Allowance
from outlast_activities.policies.schema_checker import SchemaChecker

from outlast.contracts.agents import Leg, PinnedAgent, Route, ToolSpec
from outlast.contracts.generation import Generation, Tokens
from outlast.contracts.messages import Decision, Message, ToolCall
from outlast.errors import ModelError, ModelFailure
from outlast.jsonschema.decision_schema import decision_schema
from outlast.model_server import ModelServer, Prompt
from outlast.testing import ScriptedModel, Step
from outlast.transcripts import decision_message, tool_message

AGENT = PinnedAgent(
    name="a",
    instructions="Do.",
    output_schema={"type": "string"},
    route=Route(legs=(Leg(task_queue="q"),)),
)
GO = [Message(role="user", content="go")]
LONG = '{"answer":"' + "x" * 10_000
WRONG = '{"reply":"done"}'
MAX_TOKENS = 100


def with_results(count: int) -> list[Message]:
    """Return a transcript of 1 + 2 `count` entries."""
    call = Decision(tool_calls=(ToolCall(tool="look"),))
    turns = [
        entry
        for number in range(count)
        for entry in (
            decision_message(call),
            tool_message("look", f"{number}.1", f'"{"seen " * 50}"'),
        )
    ]
    return GO + turns


def failure(kind: ModelFailure, text: str = "", **tokens: int) -> ModelError:
    return ModelError(f"went wrong: {kind.name}", kind=kind, tokens=tokens, text=text)


def replace_output(schema: dict[str, Any]) -> PinnedAgent:
    look = ToolSpec(name="look", description="x", parameters={"type": "object"})
    return AGENT.model_copy(update={"output_schema": schema, "tools": (look,)})


def attempt_of(
    server: ModelServer,
    *,
    transcript: Sequence[Message] = GO,
    allowance: Allowance | None = None,
    constrained: bool = True,
    checker: Checker | None = None,
    output_schema: dict[str, Any] | None = None,
    **options: Any,
) -> GenerationAttempt:
    agent = AGENT if output_schema is None else replace_output(output_schema)
    schema = decision_schema(agent, None, max_calls=None, answer=True)
    return GenerationAttempt(
        PromptSource(agent, transcript, schema, f"key {output_schema}", None, "run"),
        Endpoint(server, MAX_TOKENS * 100_000 if output_schema == {} else MAX_TOKENS, constrained),
        checker or SchemaChecker(),
        allowance or Allowance(),
        **{"spent": Tokens(), **options},
    )


async def completions_of(
    *steps: Step, **options: Any
) -> tuple[list[Prompt], Generation | ModelError]:
    """Return the prompts of an attempt that goes as the steps say, and what came of it."""
    model = ScriptedModel(steps)
    try:
        return model.prompts, await attempt_of(model, **options).generate()
    except ModelError as error:
        return model.prompts, error


def kind_of(outcome: Generation | ModelError) -> ModelFailure:
    assert isinstance(outcome, ModelError)
    return outcome.kind


def text_of(prompt: Prompt) -> str:
    return "\n".join(message["content"] for message in prompt.messages)

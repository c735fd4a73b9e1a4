"""What the adapters of hosted APIs share: which schemas they send, ids of calls, and notes to the model."""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from outlast.errors import ModelError, ModelFailure
from outlast.jsonschema.canonical import canonical_schema
from outlast.jsonschema.schemas import Schema
from outlast.model_server import Prompt
from outlast.turns import CallsTurn, PromptCall, PromptResult, ResultsTurn, ToolDefinition, Turn
from outlast.weighed_cache import WeighedCache
from outlast_activities.constraints.api_dialects import SchemaDialect
from outlast_activities.constraints.api_parts import NotExpressible
from outlast_activities.constraints.api_schemas import ApiSchema, api_schema
from outlast_activities.constraints.api_values import VALUE, unchanged, unwrapped
from outlast_activities.providers.hosted.answers import Restoration

ANSWER_TOOL = "final_answer"
ANSWER_TOOL_TEXT = "Give the final answer. Call this tool once, alone, when the work is done."

NO_RESULT = '{"error":"there is no result"}'
"""Stands for the result of a call that has none: each API rejects a call without a result."""

MAX_SCHEMAS_BYTES = 16_000_000
"""Converted schemas in the cache as JSON: those of an agent, for each set of tools that is allowed."""

MAX_NAME = 64
"""Characters of the name of a tool, in every API."""

_UNSAFE = re.compile(r"[^a-zA-Z0-9_-]")
_PROPERTY = re.compile(r"[a-zA-Z0-9_.-]{1,64}")


@dataclass(frozen=True)
class SentTool:
    """A tool as it is sent. With `strict` the API enforces its schema."""

    name: str
    description: str
    schema: Schema
    strict: bool


@dataclass(frozen=True)
class SentSchemas:
    """What is sent of an agent's schemas, and the way back. It is the same for all prompts of a run.

    `names` are the names of the tools in the API. `answer_format` is the schema of an answer that is
    text; without it the answer is a call of the tool `answer_tool`.
    """

    tools: tuple[SentTool, ...]
    names: Mapping[str, str]
    answer_format: Schema | None
    restoration: Restoration

    @property
    def answer_tool(self) -> str | None:
        """The name of the tool for the answer, if there is one."""
        return self.restoration.answer_tool

    @property
    def size(self) -> int:
        """The size of the schemas as JSON."""
        schemas = [tool.schema for tool in self.tools] + [self.answer_format]
        return sum(len(json.dumps(schema)) for schema in schemas)


def decision_format(prompt: Prompt, dialect: SchemaDialect) -> SentSchemas:
    """Return what is sent in the way `decision`: one schema for calls and answers.

    Raises `ModelError` with the path if the API has no form for the schema.
    """
    try:
        converted = api_schema(prompt.schema, dialect)
    except NotExpressible as refusal:
        raise ModelError(
            f"the schema of a decision has no form in {dialect.name}: {refusal}; change the type, or use "
            "the way 'tools'",
            kind=ModelFailure.BAD_REQUEST,
        ) from None
    return SentSchemas((), {}, converted.schema, Restoration({}, converted.restore))


def sent_schemas(
    prompt: Prompt, dialect: SchemaDialect, strict: Callable[[Schema], ApiSchema | None]
) -> SentSchemas:
    """Return the schemas for a prompt. `strict` returns the form of a schema that the API enforces, if any.

    A tool without such a form is sent as it is, and an answer without it becomes the tool `final_answer`.
    """
    if prompt.way == "decision":
        return decision_format(prompt, dialect)
    names = safe_names(prompt.tools)
    answer = strict(prompt.answer_schema)
    calls: dict[str, Any] = {}
    tools: list[SentTool] = []
    for tool in prompt.tools:
        enforced = strict(tool.parameters)
        form = enforced or plain_form(tool.parameters)
        name = names[tool.name]
        tools.append(SentTool(name, tool.description, form.schema, enforced is not None))
        calls[name] = (tool.name, form.restore)
    if prompt.way == "native" and answer is not None:
        return SentSchemas(tuple(tools), names, answer.schema, Restoration(calls, answer.restore))
    name, form = answer_tool_name(names), answer or plain_form(prompt.answer_schema)
    tools.append(SentTool(name, ANSWER_TOOL_TEXT, form.schema, answer is not None))
    return SentSchemas(tuple(tools), names, None, Restoration(calls, form.restore, name))


class SchemaCache:
    """What is sent of the schemas of agents, for each way. An API converts them once."""

    def __init__(self) -> None:
        self._sent: WeighedCache[tuple[str, str], SentSchemas] = WeighedCache(
            max_bytes=MAX_SCHEMAS_BYTES
        )

    def get(
        self,
        prompt: Prompt,
        dialect: SchemaDialect,
        strict: Callable[[Schema], ApiSchema | None] | None = None,
    ) -> SentSchemas:
        """Return the schemas for a prompt, as `sent_schemas` does. `strict` is `strict_form` by default."""

        def make() -> tuple[SentSchemas, int]:
            form = strict or (lambda schema: strict_form(schema, dialect))
            sent = sent_schemas(prompt, dialect, form)
            return sent, sent.size

        return self._sent.get_or_make((prompt.schema_key, prompt.way), make)


def strict_form(schema: Schema, dialect: SchemaDialect) -> ApiSchema | None:
    """Return the form of a schema that an API enforces, or None if it has none."""
    try:
        return api_schema(schema, dialect)
    except NotExpressible:
        return None


def plain_form(schema: Schema) -> ApiSchema:
    """Return a schema that an API does not enforce: an object with names of properties that all accept."""
    try:
        schema = canonical_schema(schema)
    except ValueError:
        schema = {"type": "object"}
    properties: Any = schema.get("properties", {})
    is_object = schema.get("type") == "object" and not schema.keys() & {"anyOf", "oneOf", "allOf"}
    if is_object and all(map(_PROPERTY.fullmatch, properties)):
        return ApiSchema(schema, unchanged)
    definitions: Any = schema.get("$defs")
    inner = {key: value for key, value in schema.items() if key != "$defs"}
    wrapped: Schema = {
        "type": "object",
        "properties": {VALUE: inner},
        "required": [VALUE],
        "additionalProperties": False,
    }
    return ApiSchema(
        wrapped | ({"$defs": definitions} if definitions else {}), unwrapped(unchanged)
    )


def safe_names(tools: Sequence[ToolDefinition]) -> dict[str, str]:
    """Return a name for each tool that every API accepts. Different tools have different names."""
    names: dict[str, str] = {}
    for tool in tools:
        wanted = _UNSAFE.sub("_", tool.name)[:MAX_NAME] or "_"
        name, number = wanted, 2
        while name in names.values():
            suffix = f"_{number}"
            name, number = wanted[: MAX_NAME - len(suffix)] + suffix, number + 1
        names[tool.name] = name
    return names


def answer_tool_name(names: Mapping[str, str]) -> str:
    """Return the name of the tool for the answer, which no other tool has."""
    name = ANSWER_TOOL
    while name in names.values():
        name += "_"
    return name


def safe_id(call_id: str) -> str:
    """Return the id of a call in letters that every API accepts. No service makes up such an id."""
    return f"outlast_{_UNSAFE.sub('_', call_id)}"[:MAX_NAME]


@dataclass(frozen=True)
class Step:
    """A decision with tool calls, and the result of each of them."""

    turn: CallsTurn
    results: tuple[PromptResult, ...]


def steps_of(turns: Sequence[Turn]) -> Iterator[Turn | Step]:
    """Yield the turns, with calls and their results as one step. Each call of a step has a result.

    Results without a call stay as they are.
    """
    position = 0
    while position < len(turns):
        turn = turns[position]
        position += 1
        if not isinstance(turn, CallsTurn):
            yield turn
            continue
        results: tuple[PromptResult, ...] = ()
        following = turns[position] if position < len(turns) else None
        if isinstance(following, ResultsTurn):
            results = following.results
            position += 1
        yield Step(turn, tuple(_result_of(call, n, results) for n, call in enumerate(turn.calls)))


def _result_of(call: PromptCall, number: int, results: Sequence[PromptResult]) -> PromptResult:
    by_id = [result for result in results if call.call_id and result.call_id == call.call_id]
    if by_id:
        return by_id[0]
    if number < len(results) and not call.call_id:
        return results[number]
    return PromptResult(call.call_id, call.tool, NO_RESULT, is_error=True)


Choice = Literal["auto", "call", "answer"]


def choice_of(prompt: Prompt) -> Choice:
    """Return what a turn may do: call tools or answer, only call tools, or only answer."""
    if not prompt.allowed_tools:
        return "answer"
    return "auto" if prompt.may_answer else "call"


def notes_of(prompt: Prompt, sent: SentSchemas, *, names_tools: bool, forces: bool) -> list[str]:
    """Return what the model must read at the end of the prompt, because the API cannot enforce it.

    With `names_tools` the API cannot restrict the tools of a turn. Without `forces` it cannot force a
    call. Each note is for one turn, and is not part of the transcript.
    """
    notes: list[str] = []
    choice = choice_of(prompt)
    is_subset = 0 < len(prompt.allowed_tools) < len(prompt.tools)
    if choice != "answer" and is_subset and names_tools:
        listed = ", ".join(sent.names[tool.name] for tool in prompt.allowed_tools)
        notes.append(f"In this turn you can call only these tools: {listed}.")
    if choice == "call" and names_tools and sent.answer_tool:
        notes.append(f"In this turn you must call a tool, and not {sent.answer_tool}.")
    elif choice == "call" and not forces:
        notes.append("In this turn you must call a tool.")
    if choice == "answer" and sent.answer_tool is not None and not forces:
        notes.append(f"In this turn you can call no tool but {sent.answer_tool}. Call it now.")
    notes += decoding_notes(prompt)
    if prompt.rejected is not None:
        how = f" with the tool {sent.answer_tool}" if sent.answer_tool else ""
        notes.append(
            f"Your last message was not accepted: {prompt.rejected.problem}. It was:\n"
            f"{prompt.rejected.text}\nAnswer again{how}, or call tools if you need them."
        )
    return notes


def decoding_notes(prompt: Prompt) -> list[str]:
    """Return what the model must read after an answer that looped or was empty.

    Services whose models think reject a temperature, and have no grammar without white space.
    """
    notes: list[str] = []
    if prompt.decoding.compact_json:
        notes.append("Write JSON on one line, without white space between its parts.")
    if prompt.decoding.temperature == "higher":
        notes.append("Your last message was empty or did not end. Write a new one, in other words.")
    return notes

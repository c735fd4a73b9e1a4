"""Input that people type: requests that start a run, and payloads of the commands that steer it."""

from typing import Annotated, Literal

from pydantic import Field, JsonValue, model_validator

from outlast.contracts.agent_patterns import PatternSpec
from outlast.contracts.agents import Effort, Way
from outlast.contracts.base import InputModel
from outlast.contracts.bounds import JsonBounds, MaxBytes, Paragraphs, Printable, Unique
from outlast.contracts.human import PersonName
from outlast.contracts.limits import Limits
from outlast.contracts.names import INPUT, MAX_TOOLS, Name
from outlast.text.json_text import MAX_JSON_DEPTH

MAX_INSTRUCTIONS = 200_000
"""Characters of an agent's instructions, which are part of every run."""

MAX_SAY_BYTES = 64_000
"""Size of a message of a person. Larger content belongs in a tool's result or in the input."""

MAX_TENANT_BYTES = 64
"""Size of a tenant's name, which is the fairness key: this is Temporal's limit."""

MAX_INPUT_BYTES = 1_000_000
"""A request as JSON, and its first message: a run that continues as new carries it. The server's limit is
2 MB."""

MAX_REASON = 2_000
"""Characters of the reason of a command."""

MAX_MODEL = 200
"""Characters of the name of a model."""

MAX_SINCE = 10**9
"""The largest number of an entry that a query can start from."""

Tenant = Annotated[str, Field(min_length=1), MaxBytes(MAX_TENANT_BYTES), Printable()]
ToolNames = Annotated[list[Name], Field(max_length=MAX_TOOLS), Unique()]
_JSON_BOUNDS = JsonBounds(MAX_INPUT_BYTES, MAX_JSON_DEPTH)
Input = Annotated[JsonValue, _JSON_BOUNDS]


def instructions_problem(instructions: object) -> str | None:
    """Return what is wrong with the text of instructions, or None."""
    if not isinstance(instructions, str):
        return f"are {type(instructions).__name__}, not text"
    if not instructions.strip():
        return "are empty"
    if len(instructions) > MAX_INSTRUCTIONS:
        return f"have more than {MAX_INSTRUCTIONS:,} characters: let a tool look things up"
    return None


def prompt_problem(prompt: str) -> str | None:
    """Return what is wrong with a prompt, or None: it needs the input once, because inputs are large."""
    places = prompt.count(INPUT)
    if places == 0:
        return f"lacks {INPUT!r}, the place of the input"
    if places > 1:
        return f"has {INPUT!r} {places:,} times; the input has one place"
    return None


class AgentSpec(InputModel):
    """A whole agent in JSON. It names its tools, which a worker must have registered."""

    instructions: str = Field(min_length=1, max_length=MAX_INSTRUCTIONS)
    name: Name = "spec"
    tools: ToolNames = []
    patterns: Annotated[list[PatternSpec], Field(max_length=MAX_TOOLS)] = []
    begin_with: ToolNames = []
    prompt: str = Field(default=INPUT, max_length=MAX_INSTRUCTIONS)
    output: Annotated[dict[str, JsonValue], _JSON_BOUNDS] = {"type": "string"}
    model: Annotated[str, Field(min_length=1, max_length=MAX_MODEL), Printable()] | None = None
    way: Way | None = None
    effort: Effort | None = None
    limits: Limits = Limits()

    @model_validator(mode="after")
    def _has_its_tools_and_input(self) -> "AgentSpec":
        known = set(self.tools)
        for pattern in self.patterns:
            if pattern.tool_name in known:
                raise ValueError(f"patterns: {pattern.tool_name!r} is the name of another tool")
            known.add(pattern.tool_name)
        for name in self.begin_with:
            if name not in known:
                raise ValueError(f"begin_with names {name!r}, which is not one of its tools")
        problem = prompt_problem(self.prompt)
        if problem is not None:
            raise ValueError(f"prompt {problem}")
        return self


class AgentRequest(InputModel):
    """The input of `AgentWorkflow`. A conversation without `input` begins with the first message."""

    agent: Name | None = None
    spec: AgentSpec | None = None
    input: Input = None
    tenant: Tenant = "default"
    limits: Limits = Limits()
    mode: Literal["task", "conversation"] = "task"

    @model_validator(mode="after")
    def _has_input(self) -> "AgentRequest":
        if "input" not in self.model_fields_set and self.mode == "task":
            raise ValueError("input: is required, except in a conversation")
        return self

    @model_validator(mode="after")
    def _names_one_agent(self) -> "AgentRequest":
        if (self.agent is None) == (self.spec is None):
            raise ValueError("give either 'agent' (a registered name) or 'spec' (a whole agent)")
        return self


class SayPayload(InputModel):
    """The payload of `say`: a user message for the next turn, or one that interrupts this one."""

    text: Annotated[str, Field(min_length=1), MaxBytes(MAX_SAY_BYTES)]
    by: PersonName = ""
    when: Literal["next_turn", "now"] = "next_turn"


class ReplyPayload(InputModel):
    """The payload of `reply`, which has no fields."""


class TranscriptQuery(InputModel):
    """The argument of the query `transcript`: entries from `since`, counted from 0.

    Workers set `opaque` to get what models need back, which is nothing for people.
    """

    since: int = Field(default=0, ge=0, le=MAX_SINCE)
    opaque: bool = False


class CommandPayload(InputModel):
    """The payload of `pause`, `resume` and `finish`."""

    by: PersonName = ""
    reason: Annotated[str, Field(max_length=MAX_REASON), Paragraphs] = ""

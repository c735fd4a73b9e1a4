"""Input that people type: requests that start a run, and payloads of the commands that steer it."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, JsonValue, model_validator

from outlast.contracts.base import InputModel
from outlast.contracts.limits import Limits
from outlast.contracts.names import Name

MAX_INSTRUCTIONS = 200_000
"""Characters of an agent's instructions, which are part of every run."""

MAX_SAY_BYTES = 64_000
"""Size of a message of a person. Larger content belongs in a tool's result or in the input."""

MAX_TENANT_BYTES = 64
"""Size of a tenant's name, which is the fairness key: this is Temporal's limit."""


def _max_size(max_bytes: int) -> AfterValidator:
    def check_size(text: str) -> str:
        if len(text.encode()) > max_bytes:
            raise ValueError(f"may have {max_bytes:,} bytes")
        return text

    return AfterValidator(check_size)


Tenant = Annotated[str, Field(min_length=1), _max_size(MAX_TENANT_BYTES)]


class AgentSpec(InputModel):
    """A whole agent in JSON. It names its tools, which a worker must have registered."""

    instructions: str = Field(min_length=1, max_length=MAX_INSTRUCTIONS)
    name: Name = "spec"
    tools: list[Name] = []
    begin_with: list[Name] = []
    prompt: str = "{input}"
    output: dict[str, JsonValue] = {"type": "string"}
    model: str | None = None
    limits: Limits = Limits()

    @model_validator(mode="after")
    def _has_its_tools_and_input(self) -> "AgentSpec":
        for name in self.begin_with:
            if name not in self.tools:
                raise ValueError(f"begin_with names {name!r}, which is not one of its tools")
        if "{input}" not in self.prompt:
            raise ValueError("prompt lacks '{input}', the place of the input")
        return self


class AgentRequest(InputModel):
    """The input of `AgentWorkflow`. A conversation without `input` begins with the first message."""

    agent: Name | None = None
    spec: AgentSpec | None = None
    input: JsonValue = None
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

    text: Annotated[str, Field(min_length=1), _max_size(MAX_SAY_BYTES)]
    by: str = Field(default="", max_length=200)
    when: Literal["next_turn", "now"] = "next_turn"


class ReplyPayload(InputModel):
    """The payload of `reply`, which has no fields."""


class TranscriptQuery(InputModel):
    """The argument of the query `transcript`: entries from `since`, counted from 0."""

    since: int = Field(default=0, ge=0)


class CommandPayload(InputModel):
    """The payload of `pause`, `resume` and `finish`."""

    by: str = Field(default="", max_length=200)
    reason: str = Field(default="", max_length=2_000)

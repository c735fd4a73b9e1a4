"""What people type: requests that start a run, and payloads that steer one."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, JsonValue, model_validator

from outlast.contracts.base import InputModel
from outlast.contracts.limits import Limits
from outlast.contracts.names import Name

MAX_INSTRUCTIONS = 200_000
"""Characters of an agent's instructions: they are pinned into every run."""

MAX_SAY_BYTES = 64_000
"""A message typed by a person; more belongs in a tool's result or in the input."""

MAX_TENANT_BYTES = 64
"""Temporal's bound on a fairness key."""


def _of_at_most(most_bytes: int) -> AfterValidator:
    def fits(text: str) -> str:
        if len(text.encode()) > most_bytes:
            raise ValueError(f"may have {most_bytes:,} bytes")
        return text

    return AfterValidator(fits)


Tenant = Annotated[str, Field(min_length=1), _of_at_most(MAX_TENANT_BYTES)]


class AgentSpec(InputModel):
    """A whole agent in JSON: its tools are named, and registered with a worker."""

    instructions: str = Field(min_length=1, max_length=MAX_INSTRUCTIONS)
    name: Name = "spec"
    tools: list[Name] = []
    begin_with: list[Name] = []
    prompt: str = "{input}"
    output: dict[str, JsonValue] = {"type": "string"}
    model: str | None = None
    limits: Limits = Limits()

    @model_validator(mode="after")
    def _begins_with_its_own_tools(self) -> "AgentSpec":
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
    def _is_about_something(self) -> "AgentRequest":
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

    text: Annotated[str, Field(min_length=1), _of_at_most(MAX_SAY_BYTES)]
    by: str = Field(default="", max_length=200)
    when: Literal["next_turn", "now"] = "next_turn"


class ReplyPayload(InputModel):
    """The payload of `reply`, which waits for the agent's answer and has nothing to say."""


class TranscriptQuery(InputModel):
    """The argument of the query `transcript`: entries from `since`, counted from 0."""

    since: int = Field(default=0, ge=0)


class CommandPayload(InputModel):
    """The payload of `pause`, `resume` and `finish`."""

    by: str = Field(default="", max_length=200)
    reason: str = Field(default="", max_length=2_000)

"""Agents, tools and routes as a run sees them, and how they are resolved."""

from datetime import datetime
from decimal import Decimal
from typing import Literal

from pydantic import Field, JsonValue

from outlast.contracts.base import WireModel
from outlast.contracts.effects import CompanionTool, Effect
from outlast.contracts.human import Approval
from outlast.contracts.limits import RunLimits
from outlast.contracts.names import Name


class Price(WireModel):
    """US dollars for a million tokens. Cached prompt tokens cost what others do, if nothing is said."""

    prompt_usd: Decimal = Field(default=Decimal(0), ge=0)
    cached_prompt_usd: Decimal | None = Field(default=None, ge=0)
    completion_usd: Decimal = Field(default=Decimal(0), ge=0)


class Leg(WireModel):
    """One place that can serve a step: a task queue, and how long to wait for a worker there.

    Of a model call it may say which of the worker's model servers is asked (`server`, a name from its
    settings), and for which model.
    """

    task_queue: str
    start_within_s: float | None = Field(default=None, gt=0)
    server: str | None = Field(default=None, min_length=1)
    model: str | None = Field(default=None, min_length=1)
    price: Price | None = None


class Route(WireModel):
    """The legs of a step in the order in which they are tried."""

    legs: tuple[Leg, ...] = Field(min_length=1)


class ToolSpec(WireModel):
    """A tool as the run sees it: an activity type (or an agent) of its name, with a JSON argument."""

    name: Name
    description: str = ""
    parameters: dict[str, JsonValue]
    kind: Literal["activity", "agent", "question"] = "activity"
    effect: Effect = "read"
    approval: Approval | None = None
    """Who is asked: to approve a call, or, of a `question`, to answer it."""
    answer_schema: dict[str, JsonValue] | None = None
    """Of a `question`: the JSON Schema of the answer."""
    compensate: CompanionTool | None = None
    """What undoes a call, should its run not complete."""
    verify: CompanionTool | None = None
    """What finds out whether a call happened, should its worker be lost: it returns the call's result, or
    null or false."""
    max_calls: int | None = Field(default=None, ge=1)
    begins_run: bool = False
    """Whether nothing else is admitted until this tool was called, save on the last turn. Of several such
    tools the agent's order holds."""
    tool_class: Name | None = None
    """What it needs of the workers that run it, by a name of the operator's: their settings route it."""
    timeout_s: float = Field(default=60, gt=0)
    heartbeats: bool = False
    """Whether its worker heartbeats, as those of `@tool` do: a dead worker is then noticed early."""
    route: Route | None = None


class PinnedAgent(WireModel):
    """An agent as one run uses it from its first turn to its last."""

    name: str
    instructions: str
    tools: tuple[ToolSpec, ...] = ()
    output_schema: dict[str, JsonValue]
    model: str | None = None
    route: Route
    channels: dict[str, int] = {}
    """How many channels each audience is told on; `*` are those with none of their own."""
    keys: dict[str, dict[str, str]] = {}
    """Public keys of those who decide by signature: by audience, then by name (Ed25519, the JWK's `x`)."""

    def tool(self, name: str) -> ToolSpec | None:
        """Return the tool of that name, if the agent has it."""
        return next((tool for tool in self.tools if tool.name == name), None)


class ResolveInput(WireModel):
    """Asks for what the worker knows: a registered agent, or the tools that a `spec` names."""

    agent: str | None = None
    tools: tuple[str, ...] = ()
    model: str | None = None
    """The model that a `spec` asks for; a registered agent names its own."""


class Resolved(WireModel):
    """What a run pins. `instructions` and `output_schema` are absent where the request has them."""

    tools: tuple[ToolSpec, ...] = ()
    route: Route
    instructions: str | None = None
    prompt: str = "{input}"
    output_schema: dict[str, JsonValue] | None = None
    model: str | None = None
    limits: RunLimits = RunLimits()
    channels: dict[str, int] = {}
    keys: dict[str, dict[str, str]] = {}
    has_search_attributes: bool = False
    """Whether the namespace has our search attributes: upserting an unknown one blocks a run."""
    cold: dict[str, datetime] = {}
    """Task queues to pass over until then, for lately no worker took a step there."""
    has_audience_attribute: bool = False
    """Whether `AgentAudience`, which is newer than the others, is one of them."""

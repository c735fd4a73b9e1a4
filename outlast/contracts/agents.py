"""Agents, tools and routes as a run pins them."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import Field, JsonValue

from outlast.contracts.agent_patterns import AgentPattern, PatternQuery
from outlast.contracts.base import TypedNumbers, WireModel
from outlast.contracts.bounds import MAX_INSTANT_S, Seconds
from outlast.contracts.effects import EFFECTFUL, CompanionTool, Effect
from outlast.contracts.human import Approval
from outlast.contracts.limits import RunLimits
from outlast.contracts.names import MAX_TOOLS, Name

MAX_PRICE_USD = 10**6
"""Dollars for a million tokens."""

MAX_PRICE_DIGITS = 30
"""Digits of a price."""

MAX_CALLS = 10**6
"""The largest `max_calls` of a tool."""

MAX_QUEUE = 1_000
"""Characters of the name of a task queue: the limit of the Temporal server."""

MAX_LEGS = 64
"""Legs of a route: a step may wait for each of them."""

MAX_PIPELINE_AGENTS = 200
"""Agents that one pipeline calls, and audiences that it asks."""

Dollars = Annotated[
    Decimal, Field(ge=0, le=MAX_PRICE_USD, max_digits=MAX_PRICE_DIGITS, allow_inf_nan=False)
]


Way = Literal["native", "tools", "decision"]
"""How a model decides: `native` with tool calls of the API, and its schema format for the answer; `tools`
with tool calls, and the answer as a call of the tool `final_answer`; `decision` with JSON text under a
schema."""

Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
"""How much a model thinks before it decides."""


class Price(WireModel, TypedNumbers):
    """US dollars for a million tokens. By default, a prompt token costs the same, cached or not.

    `cache_write_usd` is the price of prompt tokens that the server writes to its cache.
    """

    prompt_usd: Dollars = Decimal(0)
    cached_prompt_usd: Dollars | None = None
    cache_write_usd: Dollars | None = None
    completion_usd: Dollars = Decimal(0)


class Leg(WireModel, TypedNumbers):
    """A task queue that can serve a step, and how long a step waits for a worker there.

    For a model call, `server` names a model server in the settings of the worker, and `model` the model.
    `way` and `effort` take precedence over those of the agent and of the server.
    """

    task_queue: str = Field(max_length=MAX_QUEUE)
    start_within_s: Seconds | None = None
    server: str | None = Field(default=None, min_length=1, max_length=MAX_QUEUE)
    model: str | None = Field(default=None, min_length=1, max_length=MAX_QUEUE)
    price: Price | None = None
    way: Way | None = None
    effort: Effort | None = None


class Route(WireModel):
    """The legs of a step, in the order in which the run tries them."""

    legs: tuple[Leg, ...] = Field(min_length=1, max_length=MAX_LEGS)


class ToolSpec(WireModel):
    """A tool as a run pins it: an activity type, an agent or a question, with one JSON argument."""

    name: Name
    description: str = ""
    parameters: dict[str, JsonValue]
    kind: Literal["activity", "agent", "question"] = "activity"
    effect: Effect = "read"
    approval: Approval | None = None
    """Who approves a call, or who answers a `question`."""
    answer_schema: dict[str, JsonValue] | None = None
    """The JSON Schema of the answer to a `question`."""
    compensate: CompanionTool | None = None
    """The tool that undoes a call if the run does not complete."""
    verify: CompanionTool | None = None
    """The tool that checks whether a call happened after its worker was lost. It returns the result of the
    call, or null or false."""
    max_calls: int | None = Field(default=None, ge=1, le=MAX_CALLS)
    begins_run: bool = False
    """Whether the run must call this tool before anything else, except on its last turn. Several such tools
    are called in the order of the agent."""
    tool_class: Name | None = None
    """The kind of worker that it needs, such as `gpu`: the settings of the workers have a route for it."""
    timeout_s: float = Field(default=60, gt=0, le=MAX_INSTANT_S)
    heartbeats: bool = False
    """Whether its worker sends heartbeats, as for `@tool`, so that a lost worker is noticed early."""
    route: Route | None = None
    pin: str = ""
    """The digest of a definition that can change elsewhere, such as on an MCP server."""
    local: bool = False
    """Whether calls may be local activities. In a run, `resolve_agent` has decided whether they are."""
    pattern: AgentPattern | None = None
    """How a tool of the kind `agent` runs other agents. Without it, the tool is the agent of its name."""

    @property
    def handoff_target(self) -> str | None:
        """The agent that takes over the run when this tool is called, or None."""
        is_handoff = self.pattern is not None and self.pattern.kind == "handoff"
        return self.pattern.agents[0] if self.pattern and is_handoff else None

    @property
    def must_end(self) -> bool:
        """Whether a call under way is waited for when its run ends, because it may have to be undone."""
        return self.effect in EFFECTFUL or self.compensate is not None


class PinnedAgent(WireModel):
    """An agent as one run uses it from its first turn to its last."""

    name: str
    instructions: str
    tools: tuple[ToolSpec, ...] = ()
    output_schema: dict[str, JsonValue]
    model: str | None = None
    way: Way | None = None
    effort: Effort | None = None
    route: Route
    channels: dict[str, int] = {}
    """The number of notification channels of each audience; `*` stands for all other audiences."""
    checks_output: bool = False
    """Whether the activity `check_output` validates each answer."""
    keys: dict[str, dict[str, str]] = {}
    """Public keys for signatures, by audience and person (Ed25519, the `x` of the JWK)."""
    hooks: tuple[str, ...] = ()
    """The hooks that guard the calls of the run. A worker without one of them makes no call."""

    def tool(self, name: str) -> ToolSpec | None:
        """Return the tool with this name, or None."""
        return next((tool for tool in self.tools if tool.name == name), None)


class ResolveInput(WireModel):
    """The input of `resolve_agent`: a registered agent, or the tools that a `spec` names."""

    agent: str | None = Field(default=None, max_length=MAX_QUEUE)
    tools: tuple[Name, ...] = Field(default=(), max_length=MAX_TOOLS)
    model: str | None = Field(default=None, max_length=MAX_QUEUE)
    """The model of a `spec`; a registered agent has its own."""
    output_schema: dict[str, JsonValue] | None = None
    """The schema of the answer of a `spec`. Its legs are checked with it."""
    way: Way | None = None
    """The way of a `spec`."""
    patterns: tuple[PatternQuery, ...] = Field(default=(), max_length=MAX_TOOLS)
    """The patterns of a `spec` over registered agents."""
    agents: tuple[Annotated[str, Field(max_length=MAX_QUEUE)], ...] = Field(
        default=(), max_length=MAX_PIPELINE_AGENTS
    )
    """The agents that a pipeline calls: each must be registered."""
    audiences: tuple[Annotated[str, Field(max_length=MAX_QUEUE)], ...] = Field(
        default=(), max_length=MAX_PIPELINE_AGENTS
    )
    """The audiences that a pipeline asks."""
    makes_http_calls: bool = False
    """Whether it is a pipeline that makes HTTP calls. It gets their activities as tools."""
    name: str | None = Field(default=None, max_length=MAX_QUEUE)
    """The name of a `spec` or a pipeline, for the span of its run."""


class Resolved(WireModel):
    """The definition that a run pins. A `spec` has its own `instructions` and `output_schema`."""

    tools: tuple[ToolSpec, ...] = ()
    route: Route
    instructions: str | None = None
    prompt: str = "{input}"
    output_schema: dict[str, JsonValue] | None = None
    model: str | None = None
    way: Way | None = None
    effort: Effort | None = None
    limits: RunLimits = RunLimits()
    channels: dict[str, int] = {}
    keys: dict[str, dict[str, str]] = {}
    has_search_attributes: bool = False
    """Whether the namespace has outlast's search attributes: an unknown one would block the run."""
    cold: dict[str, datetime] = {}
    """Task queues to skip until a time, because no worker served a step there recently."""
    checks_output: bool = False
    """Whether the worker also validates answers with the output type, if the schema is not enough."""
    hooks: tuple[str, ...] = ()
    """The hooks of the worker, by name."""
    has_audience_attribute: bool = False
    """Whether `AgentAudience`, which is newer than the others, exists."""
    has_waiting_since_attribute: bool = False
    """Whether `AgentWaitingSince`, which is the newest, exists."""
    handoffs: "dict[str, Resolved]" = {}
    """The agents that can take over the run, by name."""


class OutputToCheck(WireModel):
    """The input of `check_output`: an answer of a registered agent."""

    agent: str
    answer: JsonValue = None
    tenant: str = "default"


class CheckedOutput(WireModel):
    """The result of `check_output`: why the answer is not valid, or None if it is."""

    problem: str | None = None
    check: str | None = None
    """The check of the agent that rejects it; None if its type does."""

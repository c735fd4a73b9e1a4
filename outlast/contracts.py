"""What crosses a boundary: requests people type, results they read, messages between workers.

Names here are stable; a new field is optional.
"""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    Field,
    JsonValue,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from outlast.boundaries import Door, Read, Wire
from outlast.effects import Effect, Partner, UndoneCall
from outlast.human_requests import Approval, PendingRequest, SettledRequest

AGENT_WORKFLOW = "AgentWorkflow"
AGENTS_QUEUE = "agents"
GENERATE_QUEUE = "generate"
TOOLS_QUEUE = "tools"

DEFAULT_MAX_TURNS = 20
"""Turns of a run whose request and agent name no limit: a bound, for a run must end."""

MAX_INSTRUCTIONS = 200_000
"""Characters of an agent's instructions: they are pinned into every run."""

MAX_SAY_BYTES = 64_000
"""A message typed by a person; more belongs in a tool's result or in the input."""

NAME_PATTERN = r"^[A-Za-z][A-Za-z0-9_-]{0,63}$"
Name = Annotated[str, Field(pattern=NAME_PATTERN)]
"""Names of agents and tools: letters, digits, `_` and `-`, beginning with a letter, 64 at most."""

MAX_TENANT_BYTES = 64
"""Temporal's bound on a fairness key."""


def _of_at_most(most_bytes: int) -> AfterValidator:
    def fits(text: str) -> str:
        if len(text.encode()) > most_bytes:
            raise ValueError(f"may have {most_bytes:,} bytes")
        return text

    return AfterValidator(fits)


Tenant = Annotated[str, Field(min_length=1), _of_at_most(MAX_TENANT_BYTES)]

AgentStatus = Literal[
    "thinking", "acting", "waiting_for_human", "paused", "completed", "stopped", "failed"
]
StopReason = Literal["turns", "tokens", "cost", "deadline", "denied", "cancelled"]


class Limits(Door):
    """Bounds of one run. Of a request's and its agent's, the tighter holds.

    `idle_s` is how long a conversation waits for the next message: a day, if nothing is said.
    """

    max_turns: int | None = Field(default=None, ge=1, le=10_000)
    max_tokens: int | None = Field(default=None, ge=1)
    max_cost_usd: Decimal | None = Field(default=None, gt=0)
    deadline_s: float | None = Field(default=None, gt=0, le=31_536_000)
    idle_s: float | None = Field(default=None, gt=0, le=31_536_000)

    @model_serializer(mode="wrap")
    def _without_unset(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what is not bounded: older workers refuse a limit that they do not know."""
        return {name: value for name, value in serialize(self).items() if value is not None}


class AgentSpec(Door):
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


class AgentRequest(Door):
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
            raise ValueError("input: is required, save in a conversation")
        return self

    @model_validator(mode="after")
    def _names_one_agent(self) -> "AgentRequest":
        if (self.agent is None) == (self.spec is None):
            raise ValueError("give either 'agent' (a registered name) or 'spec' (a whole agent)")
        return self


class Say(Door):
    """The payload of `say`: a user message for the next turn, or one that interrupts this one."""

    text: Annotated[str, Field(min_length=1), _of_at_most(MAX_SAY_BYTES)]
    by: str = Field(default="", max_length=200)
    when: Literal["next_turn", "now"] = "next_turn"


class Reply(Door):
    """The payload of `reply`, which waits for the agent's answer and has nothing to say."""


class TranscriptQuery(Door):
    """The argument of the query `transcript`: entries from `since`, counted from 0."""

    since: int = Field(default=0, ge=0)


class Steer(Door):
    """The payload of `pause`, `resume` and `finish`."""

    by: str = Field(default="", max_length=200)
    reason: str = Field(default="", max_length=2_000)


class Usage(Read):
    """What the model calls of a run used: re-asks, answers that were cut and failed attempts included.

    `cached_prompt_tokens` are those of `prompt_tokens` that the engine had in its prefix cache, where it
    tells.
    """

    prompt_tokens: int = 0
    cached_prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: Decimal = Decimal(0)

    def __add__(self, other: "Usage") -> "Usage":
        """Sum two usages field by field."""
        return Usage(
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            cached_prompt_tokens=self.cached_prompt_tokens + other.cached_prompt_tokens,
            completion_tokens=self.completion_tokens + other.completion_tokens,
            cost_usd=self.cost_usd + other.cost_usd,
        )

    @property
    def tokens(self) -> int:
        """Prompt and completion tokens together: what `max_tokens` bounds."""
        return self.prompt_tokens + self.completion_tokens


class ServedLeg(Read):
    """What a leg did for a run: the steps that it served, and those that no worker there took in time.

    `waited_s` is how long the steps that it served waited for their workers, all together.
    """

    task_queue: str
    steps: int = 0
    waited_s: float = 0
    passed_on: int = 0


class AgentResult(Read):
    """The result of `AgentWorkflow`."""

    status: Literal["completed", "stopped"]
    output: JsonValue = None
    stop_reason: StopReason | None = None
    turns: int = 0
    tool_calls: int = 0
    usage: Usage = Usage()
    requests: list[SettledRequest] = []
    """What people decided, in its order; the last hundred."""
    undone: list[UndoneCall] = []
    """What became of the effects of a run that did not complete, the last effect first."""
    legs: list[ServedLeg] = []
    """Where the run's steps were served."""


class Progress(Read):
    """The answer of the query `progress`: what a run does now and what it has used."""

    agent: str
    status: AgentStatus
    doing: str
    turn: int
    max_turns: int
    tool_calls: int
    usage: Usage
    pending: list[PendingRequest] = []


class Price(Wire):
    """US dollars for a million tokens. Cached prompt tokens cost what others do, if nothing is said."""

    prompt_usd: Decimal = Field(default=Decimal(0), ge=0)
    cached_prompt_usd: Decimal | None = Field(default=None, ge=0)
    completion_usd: Decimal = Field(default=Decimal(0), ge=0)


class Leg(Wire):
    """One place that can serve a step: a task queue, and how long to wait for a worker there.

    Of a model call it may say which of the worker's model servers is asked (`server`, a name from its
    settings), and for which model.
    """

    task_queue: str
    start_within_s: float | None = Field(default=None, gt=0)
    server: str | None = Field(default=None, min_length=1)
    model: str | None = Field(default=None, min_length=1)
    price: Price | None = None


class Route(Wire):
    """The legs of a step in the order in which they are tried."""

    legs: tuple[Leg, ...] = Field(min_length=1)


class ToolSpec(Wire):
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
    compensate: Partner | None = None
    """What undoes a call, should its run not complete."""
    verify: Partner | None = None
    """What finds out whether a call happened, should its worker be lost: it returns the call's result, or
    null or false."""
    max_calls: int | None = Field(default=None, ge=1)
    first: bool = False
    """Whether nothing else is admitted until this tool was called, save on the last turn. Of several such
    tools the agent's order holds."""
    tool_class: Name | None = None
    """What it needs of the workers that run it, by a name of the operator's: their settings route it."""
    timeout_s: float = Field(default=60, gt=0)
    heartbeats: bool = False
    """Whether its worker heartbeats, as those of `@tool` do: a dead worker is then noticed early."""
    route: Route | None = None


class PinnedAgent(Wire):
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


class ResolveInput(Wire):
    """Asks for what the worker knows: a registered agent, or the tools that a `spec` names."""

    agent: str | None = None
    tools: tuple[str, ...] = ()
    model: str | None = None
    """The model that a `spec` asks for; a registered agent names its own."""


class Resolved(Wire):
    """What a run pins. `instructions` and `output_schema` are absent where the request has them."""

    tools: tuple[ToolSpec, ...] = ()
    route: Route
    instructions: str | None = None
    prompt: str = "{input}"
    output_schema: dict[str, JsonValue] | None = None
    model: str | None = None
    limits: Limits = Limits()
    channels: dict[str, int] = {}
    keys: dict[str, dict[str, str]] = {}
    visibility: bool = False
    """Whether the namespace has our search attributes: upserting an unknown one blocks a run."""
    cold: dict[str, datetime] | None = None
    """Task queues to pass over until then, for lately no worker took a step there."""
    shows_audiences: bool = False
    """Whether `AgentAudience`, which is newer than the others, is one of them."""


class Message(Wire):
    """One entry of a transcript.

    `content` is text for the roles `user` and `assistant` (there a decision as compact JSON) and JSON
    text for the role `tool`. It is None where the entry is only referred to, by its `call_id`.
    """

    role: Literal["user", "assistant", "tool"]
    content: str | None = None
    tool: str | None = None
    call_id: str | None = None
    decided: str | None = None
    """Of a tool's result: who approved, edited or answered, in words; the model does not read it."""


class ToolCall(Wire):
    """A model's wish to call a tool."""

    tool: str
    arguments: dict[str, JsonValue] = {}


class Decision(Wire):
    """What a model answers each turn: calls to make, or (with none) the final answer."""

    tool_calls: tuple[ToolCall, ...] = ()
    answer: JsonValue = None


class TranscriptPage(Wire):
    """The answer of the query `transcript`: entries from `since`, and where the next page begins."""

    messages: tuple[Message, ...] = ()
    next: int | None = None
    total: int = 0

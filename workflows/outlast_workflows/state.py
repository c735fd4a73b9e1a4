"""The state of a run: one serialisable object, and how it is carried into the next run of the chain."""

import base64
import json
import zlib
from datetime import datetime
from decimal import Decimal
from typing import Literal

from pydantic import BaseModel, JsonValue, TypeAdapter

from outlast.contracts.agents import PinnedAgent, Route
from outlast.contracts.base import WireModel
from outlast.contracts.effects import CompanionTool
from outlast.contracts.human import PendingRequest, SettledRequest
from outlast.contracts.limits import RunLimits
from outlast.contracts.messages import Message
from outlast.contracts.requests import CommandPayload, SayPayload
from outlast.contracts.results import AgentStatus, ServedLeg, Usage
from outlast.errors import RunTooLarge
from outlast.json_text import to_json
from outlast.texts import cut
from outlast.transcripts import EMPTY_DIGEST, extended

MAX_CARRIED_BYTES = 1_800_000
"""The input of the next run, all in all; the server takes 2 MB."""

MAX_SETTLED = 100
"""Decisions remembered over a continue-as-new, so that a late one is told what was decided."""

MAX_CARRIED_COMMENT_BYTES = 200
"""Of the comment of each: a hundred of 2,000 characters would take the room of the transcript."""

SMALLEST_COST = Decimal("0.000001")
SMALLEST_WAIT_S = 0.001
"""Limits are above zero; an agent called with nothing left stops at its first turn."""

_MESSAGES = TypeAdapter(list[Message])


class Undo(BaseModel):
    """How an effect of the run is undone, should the run not complete."""

    call_id: str
    tool: str
    companion: CompanionTool
    arguments: dict[str, JsonValue]
    route: Route
    audience: str


class RunState(BaseModel):
    """Everything a run knows. `sent` counts the entries that the last model call was told of."""

    agent: PinnedAgent
    agent_digest: str
    limits: RunLimits
    tenant: str = "default"
    mode: Literal["task", "conversation"] = "task"
    has_search_attributes: bool = False
    has_audience_attribute: bool = False
    started_at: datetime
    messages: list[Message] = []
    digest: str = EMPTY_DIGEST
    sent: int = 0
    turn: int = 0
    tool_calls: int = 0
    calls: dict[str, int] = {}
    usage: Usage = Usage()
    last_prompt_tokens: int = 0
    last_usage: Usage = Usage()
    undo: list[Undo] = []
    cold: dict[str, datetime] = {}
    """Until when legs are skipped, by task queue."""
    legs: dict[str, ServedLeg] = {}

    def add(self, message: Message) -> None:
        """Append an entry to the transcript."""
        self.messages.append(message)
        self.digest = extended(self.digest, message)

    def use(self, usage: Usage) -> None:
        """Count what a model call of this turn used."""
        self.last_usage += usage
        self.usage += usage

    def deadline_in(self, now: datetime) -> float | None:
        """Return the seconds until the run's deadline, 0 when it has passed; None without one."""
        if self.limits.deadline_s is None:
            return None
        return max(0.0, self.limits.deadline_s - (now - self.started_at).total_seconds())

    def share(self, agents: int, now: datetime) -> RunLimits:
        """Return what each of the agents that a decision calls may use of what is left.

        A turn like the last is kept back, for this run has to answer with what they say.
        """
        tokens, cost = self.limits.max_tokens, self.limits.max_cost_usd
        deadline_s = self.deadline_in(now)
        kept = self.usage + self.last_usage
        return RunLimits(
            max_tokens=None if tokens is None else max(1, (tokens - kept.tokens) // agents),
            max_cost_usd=None
            if cost is None
            else max(SMALLEST_COST, (cost - kept.cost_usd) / agents),
            deadline_s=None if deadline_s is None else max(SMALLEST_WAIT_S, deadline_s),
        )


class Steering(BaseModel):
    """What people told a run. It exists before the run's agent is known, for they may be early."""

    inbox: list[SayPayload] = []
    heard: list[str] = []
    """Ids of the updates of the last messages, over the whole chain."""
    pending: dict[str, PendingRequest] = {}
    settled: dict[str, SettledRequest] = {}
    edits: dict[str, dict[str, JsonValue]] = {}
    answers: dict[str, JsonValue] = {}
    paused: CommandPayload | None = None
    finished: bool = False
    status: AgentStatus = "thinking"
    doing: str = "starting"


class Carried(WireModel):
    """The input of the next run of a chain: the state, its transcript packed, and what people said."""

    state: RunState
    packed: str
    steering: Steering


def carry(state: RunState, steering: Steering) -> Carried:
    """Return the input of the next run; raises `RunTooLarge` if there is no way to make it fit."""
    carried = Carried(
        state=state.model_copy(update={"messages": []}),
        steering=steering.model_copy(update={"settled": remembered(steering.settled)}),
        packed="",
    )
    room = MAX_CARRIED_BYTES - len(carried.model_dump_json())
    return carried.model_copy(update={"packed": pack(state.messages, room=room)})


def remembered(settled: dict[str, SettledRequest]) -> dict[str, SettledRequest]:
    """Return the decisions that the next run of a chain is told of, their comments cut."""
    return {
        key: made.model_copy(update={"comment": cut(made.comment, MAX_CARRIED_COMMENT_BYTES)})
        for key, made in list(settled.items())[-MAX_SETTLED:]
    }


def pack(messages: list[Message], *, room: int) -> str:
    """Return a transcript as text of at most `room` bytes: what does not fit loses its oldest results."""
    kept = list(messages)
    packed = _packed(kept)
    oldest = 0
    while len(packed) > room and oldest < len(kept):
        # A tenth of the entries at a time: packing is what costs.
        upto = min(len(kept), oldest + max(1, len(kept) // 10))
        kept[oldest:upto] = [_elided(message) for message in kept[oldest:upto]]
        oldest = upto
        packed = _packed(kept)
    if len(packed) > room:
        raise RunTooLarge(
            f"the transcript is {len(packed):,} bytes even without its tool results; a run can carry "
            f"{room:,}: use a smaller input, or fewer turns"
        )
    return packed


def unpack(packed: str) -> list[Message]:
    """Return the transcript that `pack` packed."""
    return _MESSAGES.validate_json(zlib.decompress(base64.b85decode(packed)))


def _packed(messages: list[Message]) -> str:
    return base64.b85encode(zlib.compress(_MESSAGES.dump_json(messages), level=6)).decode()


def _elided(message: Message) -> Message:
    if message.role != "tool" or message.content is None:
        return message
    note = to_json(
        {"elided": f"{len(message.content):,} characters; call the tool again if needed"}
    )
    shorter = len(note) < len(message.content)
    return message.model_copy(update={"content": note}) if shorter else message


def is_carried(data: bytes) -> bool:
    """Tell whether an input is what a chain hands on, rather than what a person typed."""
    value = json.loads(data)
    return isinstance(value, dict) and "packed" in value

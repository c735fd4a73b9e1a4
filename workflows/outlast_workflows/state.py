"""The state of a run: serialisable objects with one owner each, and the input of the next run of a chain.

`AgentRun` owns the `RunState`, and passes each part on to the one object that changes it. `AgentWorkflow`
owns the `InboundState`, which exists before the run's agent is known.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Literal

from pydantic import BaseModel, Field, JsonValue

from outlast.contracts.agents import PinnedAgent, Route
from outlast.contracts.base import WireModel
from outlast.contracts.effects import CompanionTool
from outlast.contracts.human import PendingRequest, SettledRequest
from outlast.contracts.limits import RunLimits
from outlast.contracts.messages import Message
from outlast.contracts.proofs import SignedVote
from outlast.contracts.results import AgentStatus, ServedLeg
from outlast.text.texts import cut, excerpt
from outlast.transcripts import EMPTY_DIGEST, extended
from outlast_workflows.budget import Spending
from outlast_workflows.packing import pack

MAX_CARRIED_BYTES = 1_800_000
"""Size of the whole input of the next run; the server accepts 2 MB."""

MAX_USER_MESSAGE = 600
"""Characters of the user's message in a request: the reason for a call, not the whole input."""

MAX_SETTLED = 100
"""Settled requests that are kept over a continue-as-new, so that a late decision gets the right answer."""

MAX_CARRIED_COMMENT_BYTES = 200
"""Size of each comment that is kept: a hundred of 2,000 characters would need the transcript's room."""


class Transcript(BaseModel):
    """The entries of a run's transcript.

    `digest` is extended with each entry, because computing it anew each turn costs the square of the
    length. The first `sent` entries are known to the model workers.
    """

    messages: list[Message] = []
    digest: str = EMPTY_DIGEST
    sent: int = 0

    def add(self, message: Message) -> None:
        """Append an entry."""
        self.messages.append(message)
        self.digest = extended(self.digest, message)


class UndoStep(BaseModel):
    """How one effect of the run is undone if the run does not complete."""

    call_id: str
    tool: str
    companion: CompanionTool
    arguments: dict[str, JsonValue]
    route: Route
    audience: str
    nonce: str = ""
    """The nonce of the call's request, which is part of its idempotency key."""
    key: str = ""
    """The idempotency key of the call; empty in a state of an older build."""


class RunState(BaseModel):
    """Everything that a run knows, except what people sent to it."""

    agent: PinnedAgent
    agent_digest: str
    limits: RunLimits
    tenant: str = "default"
    mode: Literal["task", "conversation"] = "task"
    is_spec: bool = False
    """Whether the agent came in the request."""
    has_search_attributes: bool = False
    has_audience_attribute: bool = False
    has_waiting_since_attribute: bool = False
    key_base: str = ""
    """Begins the idempotency keys of this run alone; empty in a state of an older build."""
    inherited_key_base: str = ""
    """Begins those that another run of the agent repeats, if its caller is reset. See `CallKeys`."""
    user_text: str = ""
    """The latest message of the user, shortened: requests to people show it."""
    warnings: list[str] = []
    """Probable mistakes in the request, which the run shows to the person who started it."""
    started_at: datetime
    status: AgentStatus = "thinking"
    doing: str = "starting"
    transcript: Transcript = Field(default_factory=Transcript)
    spending: Spending = Field(default_factory=Spending)
    undo: list[UndoStep] = []
    cold: dict[str, datetime] = {}
    """Until when legs are skipped, by task queue."""
    legs: dict[str, ServedLeg] = {}
    handoff_targets: dict[str, PinnedAgent] = {}
    """The agents that can take over the run, by name."""
    handoffs: list[str] = []
    """The agents that took over, in their order. `agent` is the last one."""
    not_local: list[str] = []
    """Local tools whose calls are ordinary activities from now on, because a local call failed to run."""

    def note_user(self, text: str | None) -> None:
        """Note a message of the user."""
        self.user_text = excerpt(text or "", MAX_USER_MESSAGE)

    @property
    def deadline(self) -> datetime | None:
        """When the run must end, or None without a limit."""
        if self.limits.deadline_s is None:
            return None
        return self.started_at + timedelta(seconds=self.limits.deadline_s)

    def carried_with(self, inbound: "InboundState") -> "Carried":
        """Return the input of the next run; raises `RunTooLarge` if it cannot be made to fit."""
        without_messages = self.transcript.model_copy(update={"messages": []})
        carried = Carried(
            state=self.model_copy(update={"transcript": without_messages}),
            inbound=inbound.model_copy(update={"settled": recent_settled(inbound.settled)}),
            packed="",
        )
        room = MAX_CARRIED_BYTES - len(carried.model_dump_json())
        return carried.model_copy(update={"packed": pack(self.transcript.messages, room=room)})


class ReceivedMessage(WireModel):
    """A user message that waits for the next turn."""

    text: str
    by: str = ""


class Pause(WireModel):
    """Who paused the run, and why."""

    by: str = ""
    reason: str = ""


class InboundState(BaseModel):
    """What people sent to a run, and the requests that wait for them.

    Only the handlers of commands and `HumanRequests` change it, and `AgentRun` empties the inbox.
    """

    inbox: list[ReceivedMessage] = []
    update_ids: list[str] = []
    """Ids of the updates of the last messages, over the whole chain."""
    pending: dict[str, PendingRequest] = {}
    settled: dict[str, SettledRequest] = {}
    edits: dict[str, dict[str, JsonValue]] = {}
    votes: dict[str, list[SignedVote]] = {}
    """The signed votes for pending requests, which the worker of the call verifies."""
    answers: dict[str, JsonValue] = {}
    paused: Pause | None = None
    is_finishing: bool = False


class Carried(WireModel):
    """The input of the next run of a chain, with the transcript as packed text."""

    state: RunState
    packed: str
    inbound: InboundState


def recent_settled(settled: dict[str, SettledRequest]) -> dict[str, SettledRequest]:
    """Return the settled requests that the next run of a chain keeps, with shortened comments."""
    latest = list(settled.items())[-MAX_SETTLED:]
    shortened = with_short_comments([request for _, request in latest])
    return {key: request for (key, _), request in zip(latest, shortened, strict=True)}


def with_short_comments(settled: Sequence[SettledRequest]) -> list[SettledRequest]:
    """Return settled requests with comments that fit where there is little room."""
    return [
        request.model_copy(update={"comment": cut(request.comment, MAX_CARRIED_COMMENT_BYTES)})
        for request in settled
    ]

"""Human requests: approvals and questions, their deadlines, decisions and outcomes."""

import contextlib
import hashlib
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, JsonValue, model_validator

from outlast.contracts.base import InputModel, OutputModel, TypedNumbers, WireModel
from outlast.contracts.bounds import (
    MAX_ID_CHARACTERS,
    Identifier,
    JsonBounds,
    Paragraphs,
    Printable,
)
from outlast.contracts.conditions import Condition
from outlast.contracts.effects import Effect
from outlast.text.json_text import from_json
from outlast.text.texts import folded_name

MAX_BY = 200
MAX_COMMENT = 2_000
MAX_SIGNATURE = 8_000

MAX_VALUE_BYTES = 128_000
"""Arguments or an answer as JSON. In the transcript, quoting can make them four times as large, and the
server's limit is 2 MB."""

MAX_VALUE_DEPTH = 64
"""Nesting of arguments and answers: parsers of JSON limit it when a history is read."""

MAX_AUDIENCE = 100
"""Characters of a name. One turn may wait for several, and the search attribute has a limit of 2 kB."""

MAX_WAIT_S = 31_536_000
"""A year: the longest time until a request expires."""

MAX_ESCALATIONS = 20
"""Escalations of one request; each is a timer in the history."""

MAX_REMINDERS = 50
"""Reminders of one request; each is a timer in the history."""

SHORTEST_WAIT_S = 1.0

_VALUE_BOUNDS = JsonBounds(MAX_VALUE_BYTES, MAX_VALUE_DEPTH)

PersonName = Annotated[str, Field(max_length=MAX_BY), Printable(also="\t")]
"""The name of a person who sends a command; empty if it is not known."""

AudienceName = Annotated[str, Field(min_length=1, max_length=MAX_AUDIENCE), Printable()]
"""The name of an audience, which people read in requests and notices."""


def audience_problem(audience: str) -> str | None:
    """Return why a text cannot be the name of an audience, in words that follow it, or None."""
    if not 0 < len(audience) <= MAX_AUDIENCE:
        return f"has {len(audience):,} characters; an audience has 1 to {MAX_AUDIENCE}"
    try:
        Printable().check(audience)
    except ValueError as error:
        return str(error)
    return None


UNSEEN_HASH = "unseen"
"""No arguments have this hash. A decision with it has no effect, and the run replies with the outcome."""

OUTCOMES: Mapping[str, Literal["approved", "denied", "answered"]] = {
    "approve": "approved",
    "edit": "approved",
    "deny": "denied",
    "answer": "answered",
}
"""The outcome of a request, by the decision that settles it."""


class Escalation(WireModel, TypedNumbers):
    """Another audience that replaces the current one, if the request is still pending after `after_s`."""

    audience: AudienceName
    after_s: float = Field(gt=0, le=MAX_WAIT_S)


class Approval(WireModel, TypedNumbers):
    """Who must approve a call, when the request expires, and with which outcome.

    `quorum` people must approve; one denial denies the call. The audience gets a reminder every `remind_s`.
    A request that expires is approved or denied by `on_expiry`. If the call is denied, the model reads the
    reason and continues; with `on_denial="stop"`, the run ends with the stop reason `denied`. With `when`,
    a call whose arguments do not satisfy the condition needs no approval. `signed` requires a signature
    with each decision, by a key of the audience in the settings of the workers. An audience with keys
    always needs signatures.
    """

    audience: AudienceName
    quorum: int = Field(default=1, ge=1, le=20)
    remind_s: float | None = Field(default=None, ge=SHORTEST_WAIT_S, le=MAX_WAIT_S)
    escalate: Annotated[Sequence[Escalation], AfterValidator(tuple)] = Field(
        default=(), max_length=MAX_ESCALATIONS
    )
    expires_s: float = Field(default=86_400, gt=0, le=MAX_WAIT_S)
    on_expiry: Literal["deny", "approve"] = "deny"
    on_denial: Literal["continue", "stop"] = "continue"
    when: Condition | None = None
    signed: bool = False

    @property
    def audiences(self) -> tuple[str, ...]:
        """The audience, and then those of the escalations."""
        return (self.audience, *(step.audience for step in self.escalate))

    @model_validator(mode="after")
    def _signed_approvals_expire_as_denied(self) -> "Approval":
        if self.signed and self.on_expiry == "approve":
            raise ValueError(
                "a signed approval cannot expire as approved: on_expiry must be 'deny'"
            )
        return self

    @model_validator(mode="after")
    def _times_are_in_order(self) -> "Approval":
        times = [0.0, *(step.after_s for step in self.escalate), self.expires_s]
        if any(later <= earlier for earlier, later in itertools.pairwise(times)):
            raise ValueError("escalations must be in order, and before expires_s")
        if self.remind_s is not None and self.expires_s / self.remind_s > MAX_REMINDERS:
            raise ValueError(f"remind_s: more than {MAX_REMINDERS} reminders until expires_s")
        return self


class HumanDecision(InputModel):
    """The payload of `decide`: decides a pending human request, or is one vote of its quorum.

    `edit` needs `arguments`, and `answer` needs `answer`. `arguments_hash` is the hash that the person saw:
    if the arguments have changed, the decision is rejected. `signature` is a compact JWS, for audiences
    with keys (`outlast.signing`).
    """

    request_id: str = Field(min_length=1, max_length=MAX_ID_CHARACTERS)
    decision: Literal["approve", "deny", "edit", "answer"]
    arguments: Annotated[dict[str, JsonValue], _VALUE_BOUNDS] | None = None
    answer: Annotated[JsonValue, _VALUE_BOUNDS] = None
    arguments_hash: Identifier | None = None
    by: PersonName = ""
    comment: Annotated[str, Field(max_length=MAX_COMMENT), Paragraphs] = ""
    signature: str | None = Field(default=None, max_length=MAX_SIGNATURE)

    @model_validator(mode="after")
    def _fields_match_the_decision(self) -> "HumanDecision":
        if self.decision == "edit" and self.arguments is None:
            raise ValueError("'edit' needs 'arguments': all arguments of the call")
        if self.decision != "edit" and self.arguments is not None:
            raise ValueError(f"'arguments' belong to 'edit', not to {self.decision!r}")
        if (self.decision == "answer") != ("answer" in self.model_fields_set):
            raise ValueError("'answer' belongs to the decision 'answer', and to no other")
        return self


class PendingRequest(OutputModel):
    """A human request without an outcome.

    An `approval` is about a call of `tool` with `arguments`. A `question` needs an answer that matches
    `answer_schema`. `audience` is the current audience, after escalations. If a signature is required,
    `signers` are the people who can decide, and the signature contains the `nonce`.

    `agent`, `user_message`, `tool_description` and `effect` say why the run makes the call, and what the
    call does. `user_message` is the latest message of the user, shortened. It is empty in an agent
    that another workflow called, because a model may have written its input.
    """

    request_id: str
    kind: Literal["approval", "question"] = "approval"
    tool: str
    arguments: dict[str, JsonValue]
    arguments_hash: str = ""
    question: str | None = None
    answer_schema: JsonValue = None
    audience: str
    quorum: int = 1
    approved_by: list[str] = []
    edited_by: str | None = None
    edits: int = 0
    reminders: int = 0
    escalations: int = 0
    signers: list[str] = []
    nonce: str = ""
    agent: str = ""
    user_message: str = ""
    tool_description: str = ""
    effect: Effect | None = None
    opened_at: datetime
    expires_at: datetime


class SettledRequest(OutputModel):
    """The outcome of a human request, who decided, and when.

    The outcome is `expired` if nobody decided in time. `approved_by` are all people who approved.
    """

    request_id: str
    tool: str = ""
    outcome: Literal["approved", "denied", "answered", "expired"]
    by: str = ""
    approved_by: list[str] = []
    comment: str = ""
    edited_by: str | None = None
    arguments_hash: str = ""
    answer_hash: str = ""
    audience: str = ""
    at: datetime | None = None
    call_error: str = ""
    """The error of the approved call, if the call was rejected or failed. The model read it."""


def outcome_text(settled: SettledRequest) -> str:
    """Return the outcome of a request as a sentence."""
    if settled.outcome == "expired":
        return f"request {settled.request_id!r} expired at {settled.at:%Y-%m-%d %H:%M:%S} UTC"
    by = f" by {settled.by!r}" if settled.by else ""
    return f"request {settled.request_id!r} is already {settled.outcome}{by}"


def is_repeated(decision: HumanDecision, settled: SettledRequest) -> bool:
    """Return whether a person repeats the decision that settled a request: it changes nothing.

    A named person may repeat it without the arguments, with `UNSEEN_HASH`.
    """
    is_same = (decision.request_id, OUTCOMES[decision.decision]) == (
        settled.request_id,
        settled.outcome,
    )
    voters = map(folded_name, (settled.by, *settled.approved_by))
    if not is_same or folded_name(decision.by) not in voters:
        return False
    if decision.arguments is not None:
        return hash_of(decision.arguments) == settled.arguments_hash
    if decision.decision == "answer":
        return settled.answer_hash in map(answer_hash, _readings(decision))
    if decision.arguments_hash == UNSEEN_HASH:
        return bool(decision.by)
    return decision.arguments_hash in (None, settled.arguments_hash)


def _readings(decision: HumanDecision) -> Iterator[JsonValue]:
    """Yield an answer, and what it is as JSON if its sender did not know the type of the question."""
    yield decision.answer
    if decision.arguments_hash == UNSEEN_HASH and isinstance(decision.answer, str):
        with contextlib.suppress(ValueError):
            yield from_json(decision.answer)


def answer_hash(answer: JsonValue) -> str:
    """Return the hash of an answer."""
    return hash_of({"answer": answer})


def hash_of(arguments: Mapping[str, JsonValue]) -> str:
    """Return the hash of arguments: the first 16 hexadecimal digits of their SHA-256."""
    return sha256_of(arguments)[:16]


def sha256_of(value: Mapping[str, JsonValue]) -> str:
    """Return the SHA-256 of a JSON object in hexadecimal digits; the order of keys does not matter."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()

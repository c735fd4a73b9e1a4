"""Human requests: what a person is asked, on which clock, and what the answer was."""

import hashlib
import itertools
import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Literal

from pydantic import Field, JsonValue, model_validator

from outlast.contracts.base import InputModel, OutputModel, WireModel
from outlast.contracts.conditions import Condition

MAX_BY = 200
MAX_COMMENT = 2_000
MAX_SIGNATURE = 8_000

MAX_VALUE_BYTES = 128_000
"""Arguments or an answer as JSON: they go into the transcript, where quoting may make four times as many
of them, and the server takes 2 MB."""

MAX_VALUE_DEPTH = 64
"""Nesting of arguments and answers: what is read back from a history may not be nested without end."""

MAX_AUDIENCE = 100
"""A name: it is a search attribute, of which the server takes 2 kB, and one turn may wait for several."""

MAX_WAIT_S = 31_536_000
"""A year: what nobody has answered by then is no longer waited for."""

MAX_ESCALATIONS = 20
"""Audiences of one request, each of which is a timer in the history."""

MAX_REMINDERS = 50
"""Reminders of one request; each is a timer in the history."""

SHORTEST_WAIT_S = 1.0

UNSEEN_HASH = "unseen"
"""No arguments have this hash. A decision with it has no effect, and the run replies with the outcome."""


class Escalation(WireModel):
    """Another audience, which is asked instead when nobody answered `after_s` from the opening on."""

    audience: str = Field(min_length=1, max_length=MAX_AUDIENCE)
    after_s: float = Field(gt=0, le=MAX_WAIT_S)


class Approval(WireModel):
    """Who must approve a call, on which clock, and what happens when nobody answers.

    `quorum` people have to approve, one denial is enough to deny. A reminder comes every `remind_s`.
    When the request expires, `on_expiry` is its outcome. With `when`, calls whose arguments it does not
    hold for need nobody. `signed` demands a signature with every decision, by a key that the workers know
    of the audience; an audience that they know keys of decides by signature in any case.
    """

    audience: str = Field(min_length=1, max_length=MAX_AUDIENCE)
    quorum: int = Field(default=1, ge=1, le=20)
    remind_s: float | None = Field(default=None, ge=SHORTEST_WAIT_S, le=MAX_WAIT_S)
    escalate: tuple[Escalation, ...] = Field(default=(), max_length=MAX_ESCALATIONS)
    expires_s: float = Field(default=86_400, gt=0, le=MAX_WAIT_S)
    on_expiry: Literal["deny", "approve"] = "deny"
    when: Condition | None = None
    signed: bool = False

    @property
    def audiences(self) -> tuple[str, ...]:
        """All who are asked, should nobody answer, in their order."""
        return (self.audience, *(step.audience for step in self.escalate))

    @model_validator(mode="after")
    def _nobody_signs_for_time(self) -> "Approval":
        if self.signed and self.on_expiry == "approve":
            raise ValueError("signed calls are not approved by time: on_expiry must be 'deny'")
        return self

    @model_validator(mode="after")
    def _clock_runs_forward(self) -> "Approval":
        times = [0.0, *(step.after_s for step in self.escalate), self.expires_s]
        if any(later <= earlier for earlier, later in itertools.pairwise(times)):
            raise ValueError("escalations come one after another, and before expires_s")
        if self.remind_s is not None and self.expires_s / self.remind_s > MAX_REMINDERS:
            raise ValueError(f"remind_s: more than {MAX_REMINDERS} reminders until expires_s")
        return self


class HumanDecision(InputModel):
    """The payload of `decide`: settles a pending human request, or is one vote of its quorum.

    `arguments` come with `edit`, `answer` with `answer`. `arguments_hash` is that of the request as the
    person saw it: a decision about other arguments is refused. `signature` is a compact JWS over it, where
    the audience decides by signature (`outlast.signing`).
    """

    request_id: str = Field(min_length=1)
    decision: Literal["approve", "deny", "edit", "answer"]
    arguments: dict[str, JsonValue] | None = None
    answer: JsonValue = None
    arguments_hash: str | None = None
    by: str = Field(default="", max_length=MAX_BY)
    comment: str = Field(default="", max_length=MAX_COMMENT)
    signature: str | None = Field(default=None, max_length=MAX_SIGNATURE)

    @model_validator(mode="after")
    def _carries_what_it_says(self) -> "HumanDecision":
        if self.decision == "edit" and self.arguments is None:
            raise ValueError("'edit' needs 'arguments': what the tool is to be called with")
        if self.decision != "edit" and self.arguments is not None:
            raise ValueError(f"'arguments' come with 'edit', not with {self.decision!r}")
        if (self.decision == "answer") != ("answer" in self.model_fields_set):
            raise ValueError("'answer' comes with the decision 'answer', and with no other")
        for name, value in (("arguments", self.arguments), ("answer", self.answer)):
            if _is_deep(value):
                raise ValueError(f"{name}: nested deeper than {MAX_VALUE_DEPTH}")
            size = len(json.dumps(value, ensure_ascii=False).encode(errors="replace"))
            if size > MAX_VALUE_BYTES:
                raise ValueError(
                    f"{name}: {size:,} bytes are too many; {MAX_VALUE_BYTES:,} are allowed"
                )
        return self


class PendingRequest(OutputModel):
    """A question to a person that is not settled yet.

    An `approval` is about a call of `tool` with `arguments`; a `question` is to be answered with JSON of
    `answer_schema`. `audience` is who is asked by now; `signers` are those of them who may decide, where a
    signature is demanded, and `nonce` is what such a signature is bound to.
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
    reminders: int = 0
    escalations: int = 0
    signers: list[str] = []
    nonce: str = ""
    opened_at: datetime
    expires_at: datetime


class SettledRequest(OutputModel):
    """How a request ended, who said so, and when: the trail of a run's human decisions.

    `expired` is the outcome of a request that nobody answered; `approved_by` are all who approved.
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


def what_became(settled: SettledRequest) -> str:
    """Return how a request ended, in words."""
    if settled.outcome == "expired":
        return f"request {settled.request_id!r} expired at {settled.at:%Y-%m-%d %H:%M:%S} UTC"
    by = f" by {settled.by!r}" if settled.by else ""
    return f"request {settled.request_id!r} is already {settled.outcome}{by}"


def _is_deep(value: JsonValue) -> bool:
    layer = [value]
    for _ in range(MAX_VALUE_DEPTH):
        layer = [child for one in layer for child in _children(one)]
    return bool(layer)


def _children(value: JsonValue) -> Iterable[JsonValue]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def hash_of(arguments: Mapping[str, JsonValue]) -> str:
    """Return what tells these arguments from any others: 16 hexadecimal digits of a SHA-256."""
    return sha256_of(arguments)[:16]


def sha256_of(value: Mapping[str, JsonValue]) -> str:
    """Return the SHA-256 of a JSON object, in hexadecimal digits, whatever the order of its keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()

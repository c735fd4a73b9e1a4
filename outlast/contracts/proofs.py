"""Signed decisions: the claims of a signature, and how they bind it to one request."""

from datetime import datetime, timedelta
from typing import Literal, Protocol

from pydantic import Field, JsonValue

from outlast.contracts.base import InputModel, WireModel
from outlast.contracts.bounds import Identifier
from outlast.contracts.human import MAX_AUDIENCE, MAX_BY, HumanDecision, PendingRequest, sha256_of
from outlast.contracts.names import MAX_RUN_ID_BYTES

ALGORITHM = "Ed25519"
"""The name in RFC 9864 for EdDSA with exactly this curve."""

PROOF_TYPE = "outlast-decision+jws"
"""The header `typ`: a signature for another purpose is not valid here."""

VALID_FOR = timedelta(minutes=15)
"""The time between signature and delivery: a decision is sent at once."""


MAX_TIMESTAMP = 253_402_300_799
"""The last second of the year 9999, which is the last that a date can have."""


class DecisionClaims(InputModel):
    """The claims of a signature, named as in RFC 7519 where it has a name.

    `sub` is the person who decides, `aud` the audience; `iat` and `exp` are seconds since 1970. `nonce` is
    the unique nonce of the request. `arguments_sha256` covers the arguments that the person saw, and
    `says_sha256` the content of the decision besides its verb.
    """

    sub: str = Field(min_length=1, max_length=MAX_BY)
    aud: str = Field(max_length=MAX_AUDIENCE)
    iat: int = Field(ge=0, le=MAX_TIMESTAMP)
    exp: int = Field(ge=0, le=MAX_TIMESTAMP)
    run: str = Field(max_length=MAX_RUN_ID_BYTES)
    request_id: Identifier
    nonce: Identifier
    decision: Literal["approve", "deny", "edit", "answer"]
    arguments_sha256: Identifier
    says_sha256: Identifier


class Signer(Protocol):
    """Signs decisions: `outlast.signing.SigningKey`, or an adapter of a hardware module."""

    def sign(
        self, decision: HumanDecision, request: PendingRequest, *, run_id: str
    ) -> HumanDecision:
        """Return the decision with the name and signature of the person; `run_id` is a workflow id."""
        ...


def claims_of(
    decision: HumanDecision, request: PendingRequest, *, run_id: str, at: datetime
) -> DecisionClaims:
    """Return the claims for a decision at this time; `run_id` is a workflow id."""
    return DecisionClaims(
        sub=decision.by,
        aud=request.audience,
        iat=int(at.timestamp()),
        exp=int((at + VALID_FOR).timestamp()),
        run=run_id,
        request_id=request.request_id,
        nonce=request.nonce,
        decision=decision.decision,
        arguments_sha256=sha256_of(request.arguments),
        says_sha256=sha256_of(
            {
                "arguments": decision.arguments,
                "answer": decision.answer,
                "comment": decision.comment,
            }
        ),
    )


def nonce_after(nonce: str, edited: dict[str, JsonValue]) -> str:
    """Return the nonce of a request after an edit, which makes earlier votes invalid."""
    return sha256_of({"nonce": nonce, "arguments": edited})[:32]


CALL_HEADER = "outlast-call"
"""The header of a tool's activity that holds its `CallProof`."""


class SignedVote(WireModel):
    """One signed vote for a call, from which its worker verifies that people approved it.

    `comment` is only there for an edit, whose signature covers it together with the new arguments.
    """

    by: str
    decision: Literal["approve", "edit"]
    comment: str = ""
    signature: str


class CallProof(WireModel):
    """What a run sends with a call: the nonce of its request, and the signed votes for it.

    The nonce is drawn when the request is opened, and follows from the arguments after an edit. So a reset
    of the run repeats it, and it can be part of the idempotency key.
    """

    nonce: str = ""
    votes: tuple[SignedVote, ...] = ()


def vote_of(decision: HumanDecision) -> SignedVote | None:
    """Return the vote of a decision for a call, or None if it has no signature, or is another decision."""
    if decision.signature is None or decision.decision not in ("approve", "edit"):
        return None
    is_edit = decision.decision == "edit"
    return SignedVote(
        by=decision.by,
        decision="edit" if is_edit else "approve",
        comment=decision.comment if is_edit else "",
        signature=decision.signature,
    )

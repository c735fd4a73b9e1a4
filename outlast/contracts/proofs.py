"""Signed decisions: the claims of a signature, and how they bind it to one request."""

from datetime import datetime, timedelta
from typing import Literal, Protocol

from pydantic import Field, JsonValue

from outlast.contracts.base import InputModel
from outlast.contracts.human import MAX_BY, HumanDecision, PendingRequest, sha256_of

ALGORITHM = "Ed25519"
"""The name in RFC 9864 for EdDSA with exactly this curve."""

PROOF_TYPE = "outlast-decision+jws"
"""The header `typ`: a signature for another purpose is not valid here."""

VALID_FOR = timedelta(minutes=15)
"""The time between signature and delivery: a decision is sent at once."""


class DecisionClaims(InputModel):
    """The claims of a signature, named as in RFC 7519 where it has a name.

    `sub` is the person who decides, `aud` the audience; `iat` and `exp` are seconds since 1970. `nonce` is
    the unique nonce of the request. `arguments_sha256` covers the arguments that the person saw, and
    `says_sha256` the content of the decision besides its verb.
    """

    sub: str = Field(min_length=1, max_length=MAX_BY)
    aud: str
    iat: int
    exp: int
    run: str
    request_id: str
    nonce: str
    decision: Literal["approve", "deny", "edit", "answer"]
    arguments_sha256: str
    says_sha256: str


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

"""Proofs: what a signed decision says, and what of its request it is bound to."""

from datetime import datetime, timedelta
from typing import Literal, Protocol

from pydantic import Field, JsonValue

from outlast.contracts.base import InputModel
from outlast.contracts.human import MAX_BY, HumanDecision, PendingRequest, sha256_of

ALGORITHM = "Ed25519"
"""RFC 9864's name of EdDSA over that curve, and of no other."""

PROOF_TYPE = "outlast-decision+jws"
"""The header `typ`: what was signed for another purpose proves nothing here."""

VALID_FOR = timedelta(minutes=15)
"""From the signature until the run has it: a decision is sent at once."""


class DecisionClaims(InputModel):
    """What a signature vouches for: claims of RFC 7519 where there are any, and what they are about.

    `sub` is who decides, `aud` the audience that was asked, `iat` and `exp` seconds since 1970. `nonce` is
    that of the request, which no other has. `arguments_sha256` is of the arguments that were seen,
    `says_sha256` of what the decision says beside its verb.
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
    """Who can sign decisions: `outlast.signing.SigningKey`, or what asks an HSM."""

    def sign(
        self, decision: HumanDecision, request: PendingRequest, *, run_id: str
    ) -> HumanDecision:
        """Return the decision with its maker's name and signature; `run_id` is a workflow id."""
        ...


def claims_of(
    decision: HumanDecision, request: PendingRequest, *, run_id: str, at: datetime
) -> DecisionClaims:
    """Return what a signature of this decision at this time vouches for; `run_id` is a workflow id."""
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
    """Return the nonce of a request once it was edited: votes on what it was before count no more."""
    return sha256_of({"nonce": nonce, "arguments": edited})[:32]

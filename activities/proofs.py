"""Checks the proof of a decision: who signed it, about which request, and until when it holds."""

from collections.abc import Mapping
from datetime import UTC, datetime

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey
from pydantic import ValidationError

from outlast.human_requests import HumanDecision, PendingRequest
from outlast.proofs import ALGORITHM, PROOF_TYPE, DecisionClaims, claims_of

_BOUND = {
    "aud": "another audience",
    "run": "another run",
    "request_id": "another request",
    "nonce": "another request, or this one before it was edited",
    "decision": "another decision",
    "arguments_sha256": "other arguments than those that are asked about",
    "says_sha256": "another decision: its arguments, answer or comment are not these",
}


def refusal_of_proof(
    decision: HumanDecision,
    request: PendingRequest,
    *,
    run_id: str,
    keys: Mapping[str, str],
    now: datetime,
) -> str | None:
    """Return why a decision is not proved, in one sentence, or None.

    `keys` are the public keys of those who may decide, by name; without any nothing has to be proved.
    """
    if not keys:
        return None
    if decision.signature is None:
        signers = ", ".join(sorted(keys))
        return (
            f"signature: {request.audience} decides by signature ({signers}):"
            f" outlast {decision.decision} --key FILE"
        )
    claims = _claims(decision, keys)
    if isinstance(claims, str):
        return f"signature: {claims}"
    if claims.exp <= now.timestamp():
        return f"signature: it was valid until {_told(claims.exp)}; sign again"
    wanted = claims_of(decision, request, run_id=run_id, at=now)
    for name, about in _BOUND.items():
        if getattr(claims, name) != getattr(wanted, name):
            return f"signature: it is of {about}"
    return None


def _claims(decision: HumanDecision, keys: Mapping[str, str]) -> DecisionClaims | str:
    """Return what was signed by the key of the one who decides, or why nothing was."""
    public = keys.get(decision.by)
    if public is None:
        signers = ", ".join(sorted(keys))
        return f"{decision.by!r} may not decide this; {signers} may"
    key = OKPKey.import_key({"kty": "OKP", "crv": ALGORITHM, "x": public})
    try:
        signed = jws.deserialize_compact(decision.signature or "", key, algorithms=[ALGORITHM])
        claims = DecisionClaims.model_validate_json(signed.payload)
    except (JoseError, ValidationError, ValueError):
        return f"it is not one of {decision.by!r} over a decision"
    if signed.headers().get("typ") != PROOF_TYPE:
        return "it was made for another purpose"
    return claims if claims.sub == decision.by else f"it is of {claims.sub!r}, not {decision.by!r}"


def _told(seconds: int) -> str:
    try:
        return f"{datetime.fromtimestamp(seconds, tz=UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (ValueError, OverflowError, OSError):
        return "a time long ago"

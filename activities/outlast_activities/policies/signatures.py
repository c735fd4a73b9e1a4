"""Checks the proof of a decision: who signed it, about which request, and until when it holds."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from joserfc import jws
from joserfc.jwk import OKPKey

from outlast.contracts.human import HumanDecision, PendingRequest
from outlast.contracts.proofs import ALGORITHM, PROOF_TYPE, VALID_FOR, DecisionClaims, claims_of

MOST_AHEAD = timedelta(minutes=1)
"""How much a signer's clock may be ahead of the workflow's."""

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
            f" outlast {decision.decision} {run_id} {request.request_id} --key FILE"
        )
    claims = _claims(decision, keys)
    if isinstance(claims, str):
        return f"signature: {claims}"
    wanted = claims_of(decision, request, run_id=run_id, at=now)
    others = (about for name, about in _BOUND.items() if _differ(name, claims, wanted))
    about = next(others, None)
    refusal = f"it is of {about}" if about else _out_of_time(claims, now)
    return f"signature: {refusal}" if refusal else None


def _differ(name: str, claims: DecisionClaims, wanted: DecisionClaims) -> bool:
    return bool(getattr(claims, name) != getattr(wanted, name))


def _out_of_time(claims: DecisionClaims, now: datetime) -> str | None:
    most_s = VALID_FOR.total_seconds()
    if claims.exp <= now.timestamp():
        return f"it was valid until {_told(claims.exp)}; sign again"
    if claims.exp - claims.iat > most_s or claims.iat > (now + MOST_AHEAD).timestamp():
        return f"it may be valid for {most_s:.0f} s from now on; it is until {_told(claims.exp)}"
    return None


def _claims(decision: HumanDecision, keys: Mapping[str, str]) -> DecisionClaims | str:
    """Return what was signed by the key of the one who decides, or why nothing was."""
    public = keys.get(decision.by)
    if public is None:
        signers = ", ".join(sorted(keys))
        return f"{decision.by!r} may not decide this; {signers} may"
    try:
        key = OKPKey.import_key({"kty": "OKP", "crv": ALGORITHM, "x": public})
        signed = jws.deserialize_compact(decision.signature or "", key, algorithms=[ALGORITHM])
        claims = DecisionClaims.model_validate_json(signed.payload)
    except Exception:  # noqa: BLE001 whatever a stranger wrote to break the reader, it is no proof
        return f"it is not one of {decision.by!r} over a decision"
    if signed.headers().get("typ") != PROOF_TYPE:
        return "it was made for another purpose"
    return claims if claims.sub == decision.by else f"it is of {claims.sub!r}, not {decision.by!r}"


def _told(seconds: int) -> str:
    try:
        return f"{datetime.fromtimestamp(seconds, tz=UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (ValueError, OverflowError, OSError):
        return "a time that is none"

"""Verification of signed decisions: the signer, the request that was decided, and the time of validity."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from outlast.contracts.human import HumanDecision, PendingRequest
from outlast.contracts.proofs import ALGORITHM, PROOF_TYPE, VALID_FOR, DecisionClaims, claims_of

MAX_CLOCK_SKEW = timedelta(minutes=1)
"""How far a signer's clock may be ahead of the workflow's."""

_CLAIMS = {
    "aud": "another audience",
    "run": "another run",
    "request_id": "another request",
    "nonce": "another request, or this one before it was edited",
    "decision": "another decision",
    "arguments_sha256": "other arguments than the request has",
    "says_sha256": "another decision: its arguments, answer or comment differ",
}


def refusal_of_proof(
    decision: HumanDecision,
    request: PendingRequest,
    *,
    run_id: str,
    keys: Mapping[str, str],
    now: datetime,
) -> str | None:
    """Return why the signature of a decision is not valid, in one sentence, or None.

    `keys` are the public keys of the people who may decide, by name. Without keys no signature is needed.
    """
    if not keys:
        return None
    if decision.signature is None:
        signers = ", ".join(sorted(keys))
        return (
            f"signature: {request.audience} must sign its decisions ({signers}):"
            f" outlast {decision.decision} {run_id} {request.request_id} --key FILE"
        )
    claims = signed_claims(decision.by, decision.signature, keys)
    if isinstance(claims, str):
        return f"signature: {claims}"
    expected = claims_of(decision, request, run_id=run_id, at=now)
    signed_for = next(
        (what for name, what in _CLAIMS.items() if _differ(name, claims, expected)), None
    )
    refusal = f"it is for {signed_for}" if signed_for else _time_problem(claims, now)
    return f"signature: {refusal}" if refusal else None


def _differ(name: str, claims: DecisionClaims, expected: DecisionClaims) -> bool:
    return bool(getattr(claims, name) != getattr(expected, name))


def _time_problem(claims: DecisionClaims, now: datetime) -> str | None:
    max_s = VALID_FOR.total_seconds()
    if claims.exp <= now.timestamp():
        return f"it expired at {_utc(claims.exp)}; sign again"
    if claims.exp - claims.iat > max_s or claims.iat > (now + MAX_CLOCK_SKEW).timestamp():
        return f"it must expire within {max_s:.0f} s from now, not at {_utc(claims.exp)}"
    return None


def signed_claims(by: str, signature: str, keys: Mapping[str, str]) -> DecisionClaims | str:
    """Return the claims that the key of a person signed, or why there are none."""
    public_key = keys.get(by)
    if public_key is None:
        signers = ", ".join(sorted(keys))
        return f"{by!r} may not decide this; {signers} may"
    # Imported here: the library takes 10 MiB of a worker, and only audiences with keys need it.
    from joserfc import jws  # noqa: PLC0415
    from joserfc.jwk import OKPKey  # noqa: PLC0415

    try:
        key = OKPKey.import_key({"kty": "OKP", "crv": ALGORITHM, "x": public_key})
        signed = jws.deserialize_compact(signature, key, algorithms=[ALGORITHM])
        claims = DecisionClaims.model_validate_json(signed.payload)
    except Exception:  # noqa: BLE001 a stranger can send anything to break the parser
        return f"{by!r} did not sign a decision with it"
    if signed.headers().get("typ") != PROOF_TYPE:
        return "it was made for another purpose"
    return claims if claims.sub == by else f"{claims.sub!r} signed it, not {by!r}"


def _utc(seconds: int) -> str:
    try:
        return f"{datetime.fromtimestamp(seconds, tz=UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (ValueError, OverflowError, OSError):
        return "an invalid time"

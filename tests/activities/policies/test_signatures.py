"""Signatures of decisions: every way in which one can be for something else."""

import json
from base64 import urlsafe_b64encode
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from joserfc import jws
from joserfc.jwk import OctKey, OKPKey
from outlast_activities.policies.signatures import refusal_of_proof
from pydantic import JsonValue

from outlast.contracts.human import HumanDecision, PendingRequest, hash_of
from outlast.contracts.proofs import PROOF_TYPE, claims_of, nonce_after
from outlast.signing import SigningKey

NOW = datetime(2026, 1, 2, 12, tzinfo=UTC)
ARGUMENTS: dict[str, JsonValue] = {"order_id": "42", "amount_usd": 80}
REQUEST = PendingRequest.model_validate(
    {
        "request_id": "2.1",
        "tool": "refund",
        "arguments": ARGUMENTS,
        "arguments_hash": hash_of(ARGUMENTS),
        "audience": "leads",
        "signers": ["ann", "bob"],
        "nonce": "5eed",
        "opened_at": NOW,
        "expires_at": NOW + timedelta(days=1),
    }
)
ANN, BOB, EVE = (SigningKey.generate(name) for name in ("ann", "bob", "eve"))
KEYS = {"ann": ANN.public, "bob": BOB.public}
APPROVE = HumanDecision(request_id="2.1", decision="approve", by="ann")
EDIT = HumanDecision(request_id="2.1", decision="edit", by="ann", arguments={"order_id": "43"})


def signed(
    decision: HumanDecision = APPROVE,
    *,
    key: SigningKey = ANN,
    run_id: str = "r1",
    at: datetime = NOW,
    **seen: Any,
) -> HumanDecision:
    """Return a decision that was signed about a request as it was seen."""
    return key.sign(decision, REQUEST.model_copy(update=seen), run_id=run_id, at=at)


def refusal(
    decision: HumanDecision, *, keys: dict[str, str] = KEYS, now: datetime = NOW
) -> str | None:
    return refusal_of_proof(decision, REQUEST, run_id="r1", keys=keys, now=now)


def forged(header: dict[str, str], key: Any, algorithm: str) -> HumanDecision:
    payload = claims_of(APPROVE, REQUEST, run_id="r1", at=NOW).model_dump_json().encode()
    token = jws.serialize_compact(header, payload, key, algorithms=[algorithm])
    return APPROVE.model_copy(update={"signature": token})


def with_header(**fields: Any) -> HumanDecision:
    """Return a decision whose token has a header of a stranger's making."""
    _, payload, signature = str(signed().signature).split(".")
    header = json.dumps({"alg": "Ed25519", "typ": PROOF_TYPE, **fields}).encode()
    token = f"{urlsafe_b64encode(header).decode().rstrip('=')}.{payload}.{signature}"
    return APPROVE.model_copy(update={"signature": token})


def unsigned() -> HumanDecision:
    """Return a decision with a token that claims to need no signature."""
    _, payload, _ = str(signed().signature).split(".")
    header = urlsafe_b64encode(b'{"alg":"none","typ":"outlast-decision+jws"}').decode()
    return APPROVE.model_copy(update={"signature": f"{header}.{payload}."})


@pytest.mark.parametrize("decision", [APPROVE, EDIT])
@pytest.mark.parametrize("key", [ANN, BOB])
def test_what_somebody_of_the_audience_signed_is_proved(
    decision: HumanDecision, key: SigningKey
) -> None:
    proved = signed(decision, key=key)
    assert refusal(proved) is None
    assert proved.by == key.name


def test_an_audience_without_keys_needs_no_signature() -> None:
    assert refusal(APPROVE, keys={}) is None


def test_a_decision_without_a_signature_is_rejected_with_the_signers() -> None:
    reason = refusal(APPROVE)
    assert reason == (
        "signature: leads must sign its decisions (ann, bob): outlast approve r1 2.1 --key FILE"
    )


@pytest.mark.parametrize(
    ("decision", "reason"),
    [
        pytest.param(signed(key=EVE), "'eve' may not decide this; ann, bob may", id="stranger"),
        pytest.param(
            signed(key=EVE).model_copy(update={"by": "ann"}),
            "'ann' did not sign a decision with it",
            id="forged",
        ),
        pytest.param(
            signed().model_copy(update={"by": "bob"}), "'bob' did not sign", id="borrowed"
        ),
        pytest.param(
            signed().model_copy(update={"signature": "a.b.c"}),
            "did not sign a decision",
            id="garbage",
        ),
        pytest.param(
            signed(EDIT).model_copy(update={"arguments": {"order_id": "44"}}),
            "another decision: its arguments, answer or comment differ",
            id="swapped edit",
        ),
        pytest.param(
            signed().model_copy(update={"comment": "paid by the customer"}),
            "its arguments, answer or comment differ",
            id="swapped comment",
        ),
        pytest.param(
            signed().model_copy(update={"decision": "deny"}), "another decision", id="swapped verb"
        ),
        pytest.param(
            signed(arguments={"order_id": "42", "amount_usd": 8000}),
            "other arguments than the request has",
            id="swapped arguments",
        ),
        pytest.param(signed(audience="finance"), "another audience", id="wrong audience"),
        pytest.param(signed(run_id="r2"), "another run", id="replayed in another run"),
        pytest.param(
            signed(request_id="1.1"), "another request", id="replayed for another request"
        ),
        pytest.param(signed(nonce="0ther"), "before it was edited", id="replayed after an edit"),
        pytest.param(with_header(crit=5), "'ann' did not sign", id="breaks the reader"),
        pytest.param(
            with_header(b64=False, crit=["b64"]), "did not sign a decision", id="unencoded"
        ),
        pytest.param(
            signed(at=NOW + timedelta(days=3650)),
            "it must expire within 900 s from now",
            id="ahead",
        ),
        pytest.param(
            signed(at=NOW - timedelta(minutes=15)),
            "it expired at 2026-01-02 12:00:00 UTC; sign again",
            id="expired",
        ),
        pytest.param(
            unsigned(),
            "'ann' did not sign",
            id="no algorithm",
        ),
        pytest.param(
            forged({"alg": "HS256", "typ": PROOF_TYPE}, OctKey.import_key(ANN.public), "HS256"),
            "'ann' did not sign",
            id="public key as a shared secret",
        ),
    ],
)
def test_a_signature_for_something_else_is_rejected(decision: HumanDecision, reason: str) -> None:
    assert reason in str(refusal(decision))


def test_an_invalid_key_rejects_and_does_not_raise() -> None:
    assert "'ann' did not sign" in str(refusal(signed(), keys={"ann": " not+a/key "}))


def test_a_signature_for_another_purpose_is_rejected() -> None:
    key = OKPKey.generate_key("Ed25519")
    keys = {"ann": str(key.as_dict(private=False)["x"])}
    other = forged({"alg": "Ed25519", "typ": "JWT"}, key, "Ed25519")
    assert refusal(other, keys=keys) == "signature: it was made for another purpose"
    own = forged({"alg": "Ed25519", "typ": PROOF_TYPE}, key, "Ed25519")
    assert refusal(own, keys=keys) is None


def test_the_nonce_of_an_edited_request_is_another_though_it_is_edited_back() -> None:
    once = nonce_after("5eed", {"amount_usd": 9})
    back = nonce_after(once, ARGUMENTS)
    assert len({"5eed", once, back}) == 3

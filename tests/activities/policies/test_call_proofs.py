"""The worker of a tool verifies signed votes itself, against the arguments that it is about to use."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from outlast_activities.policies.call_proofs import needs_proof, refusal_of_call
from outlast_activities.tool_activity import tool_activity
from outlast_activities.tool_runner import ToolRunner
from temporalio.api.common.v1 import Payload
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from outlast import Approval, Escalation, ToolContext, arguments, tool
from outlast.contracts.human import HumanDecision, PendingRequest, hash_of
from outlast.contracts.names import AGENT_WORKFLOW
from outlast.contracts.proofs import CallProof, SignedVote, nonce_after, vote_of
from outlast.signing import SigningKey
from outlast.temporal.call_proof import CALL_PROOF

ANN, BOB, EVE = (SigningKey.generate(name) for name in ("ann", "bob", "eve"))
KEYS = {"leads": {"ann": ANN.public, "bob": BOB.public}, "board": {"eve": EVE.public}}
PAID: list[str] = []
ARGUMENTS: dict[str, Any] = {"order_id": "7", "amount_usd": 5}
APPROVAL = Approval(audience="leads", signed=True)
OPENED = datetime(2026, 11, 26, 12, tzinfo=UTC)


@tool(effect="irreversible", approval=APPROVAL)
def pay(context: ToolContext, order_id: str, amount_usd: float) -> str:
    """Pay."""
    PAID.append(context.idempotency_key)
    return f"paid {order_id} {amount_usd}"


def request(arguments: dict[str, Any] | None = None, **changed: Any) -> PendingRequest:
    shown = ARGUMENTS if arguments is None else arguments
    opened = PendingRequest(
        request_id="1.1",
        tool="pay",
        arguments=shown,
        arguments_hash=hash_of(shown),
        audience="leads",
        nonce="n1",
        opened_at=OPENED,
        expires_at=OPENED + timedelta(days=1),
    )
    return opened.model_copy(update=changed)


def vote(
    key: SigningKey = ANN,
    asked: PendingRequest | None = None,
    *,
    run_id: str = "run",
    at: datetime | None = None,
    **decision: Any,
) -> SignedVote:
    decided = HumanDecision(**{"request_id": "1.1", "decision": "approve", **decision})
    made = vote_of(key.sign(decided, asked or request(), run_id=run_id, at=at))
    assert made is not None
    return made


def refusal(
    *votes: SignedVote,
    arguments: dict[str, Any] = ARGUMENTS,
    approval: Approval = APPROVAL,
    nonce: str = "n1",
    run_id: str = "run",
    call_id: str = "1.1",
    keys: Any = KEYS,
) -> str | None:
    return refusal_of_call(
        approval,
        arguments,
        CallProof(nonce=nonce, votes=votes),
        run_id=run_id,
        call_id=call_id,
        keys=keys,
    )


EDITED: dict[str, Any] = {"order_id": "7", "amount_usd": 9}
AFTER_EDIT = nonce_after("n1", EDITED)


def edit(key: SigningKey = ANN) -> SignedVote:
    return vote(key, decision="edit", arguments=EDITED, comment="less")


def test_what_people_signed_is_accepted() -> None:
    assert refusal(vote()) is None
    assert refusal(vote(), vote(BOB), approval=Approval(audience="leads", quorum=2)) is None
    assert refusal(edit(), arguments=EDITED, nonce=AFTER_EDIT) is None
    late = vote(BOB, request(EDITED, nonce=AFTER_EDIT))
    both = Approval(audience="leads", quorum=2, signed=True)
    assert refusal(edit(), late, arguments=EDITED, nonce=AFTER_EDIT, approval=both) is None
    escalated = Approval(audience="leads", escalate=(Escalation(audience="board", after_s=9),))
    assert refusal(vote(EVE, request(audience="board")), approval=escalated) is None
    assert refusal(vote(at=OPENED - timedelta(days=300))) is None, "the run has checked the time"
    swapped = {"amount_usd": 5, "order_id": "7"}
    assert refusal(vote(), arguments=swapped) is None, "the order of keys does not matter"


FORGED: list[tuple[str, Callable[[], str | None], str]] = [
    ("no vote", refusal, "nobody has signed this call"),
    (
        "other arguments",
        lambda: refusal(vote(), arguments={**ARGUMENTS, "amount_usd": 6}),
        "other ar",
    ),
    ("more arguments", lambda: refusal(vote(), arguments={**ARGUMENTS, "x": 1}), "other arguments"),
    (
        "text for a number",
        lambda: refusal(vote(), arguments={**ARGUMENTS, "amount_usd": "5"}),
        "other",
    ),
    ("no arguments", lambda: refusal(vote(), arguments={}), "other arguments"),
    ("another run", lambda: refusal(vote(), run_id="other"), "request 1.1 of run 'run'"),
    ("another call", lambda: refusal(vote(), call_id="2.1"), "request 1.1 of run 'run'"),
    ("the undoing call", lambda: refusal(vote(), call_id="1.1.undo"), "request 1.1 of run 'run'"),
    ("another nonce", lambda: refusal(vote(), nonce="n2"), "another request"),
    ("no nonce", lambda: refusal(vote(), nonce=""), "another request"),
    ("a stranger", lambda: refusal(vote(EVE)), "'eve' may not decide this"),
    (
        "a stranger with the name of a signer",
        lambda: refusal(vote(EVE).model_copy(update={"by": "ann"})),
        "'ann' did not sign a decision with it",
    ),
    (
        "a name with white space",
        lambda: refusal(vote().model_copy(update={"by": "ann "})),
        "may not",
    ),
    (
        "another audience",
        lambda: refusal(vote(ANN, request(audience="board"))),
        "'ann' signed for 'board'",
    ),
    ("a denial", lambda: refusal(_denial()), "the decision 'deny'"),
    (
        "an approval as an edit",
        lambda: refusal(vote().model_copy(update={"decision": "edit"})),
        "the decision 'approve'",
    ),
    ("an edit to something else", lambda: refusal(edit(), nonce=AFTER_EDIT), "other arguments"),
    ("an edit before its nonce", lambda: refusal(edit(), arguments=EDITED), "another request"),
    (
        "an approval from before an edit",
        lambda: refusal(edit(), vote(BOB), arguments=EDITED, nonce=AFTER_EDIT),
        "'bob' signed other arguments",
    ),
    (
        "another comment",
        lambda: refusal(
            edit().model_copy(update={"comment": "more"}), arguments=EDITED, nonce=AFTER_EDIT
        ),
        "other arguments",
    ),
    (
        "one vote twice",
        lambda: refusal(vote(), vote(), approval=Approval(audience="leads", quorum=2)),
        "2 people must sign this call, not 1",
    ),
    ("no keys", lambda: refusal(vote(), keys={}), "'ann' may not decide this"),
    ("no signature", lambda: refusal(vote().model_copy(update={"signature": ""})), "did not sign"),
    ("no JWS", lambda: refusal(vote().model_copy(update={"signature": "a.b.c"})), "did not sign"),
    (
        "a changed signature",
        lambda: refusal(
            vote().model_copy(update={"signature": vote().signature[:-8] + "AAAAAAAA"})
        ),
        "did not sign",
    ),
]


def _denial() -> SignedVote:
    denied = ANN.sign(HumanDecision(request_id="1.1", decision="deny"), request(), run_id="run")
    return SignedVote(by="ann", decision="approve", signature=denied.signature or "")


@pytest.mark.parametrize(
    ("check", "reason"), [case[1:] for case in FORGED], ids=[case[0] for case in FORGED]
)
def test_what_nobody_signed_is_refused(check: Callable[[], str | None], reason: str) -> None:
    refused = check()
    assert refused is not None
    assert reason in refused


@pytest.mark.parametrize(
    ("approval", "is_needed"),
    [
        (None, False),
        (Approval(audience="leads", signed=True), True),
        (Approval(audience="nobody", signed=True), True),
        (Approval(audience="leads"), True),
        (Approval(audience="nobody"), False),
        (Approval(audience="leads", on_expiry="approve"), False),
        (Approval(audience="leads", escalate=(Escalation(audience="nobody", after_s=1),)), False),
        (Approval(audience="leads", escalate=(Escalation(audience="board", after_s=1),)), True),
        (Approval(audience="leads", signed=True, when=arguments.amount_usd > 100), False),
        (Approval(audience="leads", signed=True, when=arguments.amount_usd > 1), True),
    ],
)
def test_calls_that_need_signatures(approval: Approval | None, is_needed: bool) -> None:
    spec = pay.spec.model_copy(update={"approval": approval})
    assert needs_proof(spec, ARGUMENTS, KEYS) is is_needed


class NoCache:
    def keep_result(self, workflow_id: str, run_id: str, call_id: str, content: str) -> None:
        """Do nothing."""


async def call(proof: CallProof | None, *, keys: Any = KEYS, run: str = "execution") -> bytes:
    environment = ActivityEnvironment()
    environment.info = replace(
        ActivityEnvironment.default_info(),
        workflow_type=AGENT_WORKFLOW,
        workflow_id="run",
        workflow_run_id=run,
        activity_id="1.1",
    )
    data = b'{"order_id":"7","amount_usd":5}'
    payload = Payload(metadata={"encoding": b"json/plain"}, data=data)
    token = CALL_PROOF.set(proof)
    try:
        acting = tool_activity(pay, NoCache(), ToolRunner(threads=1), keys)
        result: RawValue = await environment.run(acting, RawValue(payload))
    finally:
        CALL_PROOF.reset(token)
    return result.payload.data


async def test_a_signed_call_is_made_and_its_key_outlives_a_reset() -> None:
    PAID.clear()
    proof = CallProof(nonce="n1", votes=(vote(),))
    assert await call(proof) == b'"paid 7 5.0"'
    assert await call(proof, run="execution after a reset") == b'"paid 7 5.0"'
    assert PAID == ["run/n1/1.1", "run/n1/1.1"]


@pytest.mark.parametrize(
    ("proof", "keys", "reason"),
    [
        (None, KEYS, "pay: nobody has signed this call"),
        (CallProof(nonce="n1"), KEYS, "pay: nobody has signed this call"),
        (CallProof(nonce="n1", votes=(vote(BOB, run_id="x"),)), KEYS, "pay: 'bob' signed request"),
        (CallProof(nonce="n1", votes=(vote(),)), {}, "has no keys of 'leads': set audiences.leads"),
    ],
)
async def test_a_call_without_its_signatures_is_rejected_and_not_retried(
    proof: CallProof | None, keys: Any, reason: str
) -> None:
    PAID.clear()
    with pytest.raises(ApplicationError, match=reason) as raised:
        await call(proof, keys=keys)
    assert raised.value.non_retryable
    assert not PAID

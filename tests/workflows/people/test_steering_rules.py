"""Decisions as pure functions: what is refused, and what the accepted ones change."""

from typing import Any

import pytest
from outlast_workflows.people.outcomes import decision_text, denial, question_result
from outlast_workflows.state import InboundState, recent_settled

from outlast import Approval
from outlast.contracts.human import (
    UNSEEN_HASH,
    HumanDecision,
    PendingRequest,
    SettledRequest,
    hash_of,
)
from tests.workflows.people.decisions import (
    ASKED,
    EDITED,
    NOW,
    call_request,
    decided,
    decision,
    question,
    refusal,
    steering_with,
)


@pytest.mark.parametrize(
    ("request_", "given_decision", "why"),
    [
        (None, decision("approve"), "'1.1' is not pending; pending: none"),
        (call_request(request_id="2.1"), decision("approve"), "is not pending; pending: '2.1'"),
        # wrong kind
        (call_request(), decision("answer", answer=1), "is a call: 'approve', 'edit' or 'deny' it"),
        (question(None), decision("approve"), "is a question: 'answer' it, or 'deny'"),
        (question(None), decision("edit", arguments=ASKED), "is a question"),
        # wrong hash
        (call_request(), decision("approve", arguments_hash="0" * 16), "have changed"),
        (call_request(), decision("deny", arguments_hash="0" * 16), "have changed"),
        (call_request(), decision("approve", arguments_hash=""), "have changed"),
        (question(None), decision("answer", answer=1, arguments_hash="0"), "have changed"),
        # malformed edit
        (call_request(), decision("edit", arguments={}), "arguments: 'id' is a required property"),
        (
            call_request(),
            decision("edit", arguments={**ASKED, "usd": "x"}),
            "arguments: usd: 'x' is not",
        ),
        (call_request(), decision("edit", arguments={**ASKED, "a": 1}), "arguments: Additional"),
        # quorum without a name
        (call_request(quorum=2), decision("approve"), "by: this call needs 2 people"),
        (call_request(quorum=2), decision("edit", arguments=EDITED), "by: this call needs 2"),
        # answers against a schema
        (question({"type": "integer"}), decision("answer", answer="x"), "answer: 'x' is not of"),
        (question({"type": "integer"}), decision("answer", answer=None), "answer: None is not"),
        (question({"enum": ["a"]}), decision("answer", answer="b"), "answer: 'b' is not one of"),
        (
            question({"$ref": "#/$defs/nowhere"}),
            decision("answer", answer="b"),
            "answer: cannot be checked: ",
        ),
    ],
)
def test_a_decision_is_refused(
    request_: PendingRequest | None, given_decision: HumanDecision, why: str
) -> None:
    inbound = steering_with(request_)
    before = inbound.model_dump_json()
    refused = refusal(given_decision, inbound)
    assert refused is not None
    assert why in refused
    assert inbound.model_dump_json() == before, "looking at a decision changes nothing"


@pytest.mark.parametrize(
    ("request_", "given_decision"),
    [
        (call_request(), decision("approve")),
        (call_request(), decision("approve", arguments_hash=hash_of(ASKED))),
        (call_request(), decision("edit", arguments=EDITED)),
        (call_request(quorum=2), decision("deny")),
        (question({"type": "null"}), decision("answer", answer=None)),
        (question(None), decision("answer", answer={"any": ["thing"]})),
        (question({"type": "integer"}), decision("deny")),
    ],
)
def test_a_decision_is_taken(request_: PendingRequest, given_decision: HumanDecision) -> None:
    assert refusal(given_decision, steering_with(request_)) is None


def test_an_expired_request_takes_no_decision_of_anybody() -> None:
    inbound = InboundState(
        settled={"1.1": SettledRequest(request_id="1.1", outcome="expired", at=NOW)}
    )
    for given_decision in (
        decision("approve"),
        decision("deny"),
        decision("edit", arguments=EDITED),
    ):
        assert decided(inbound, given_decision) == [
            "(request '1.1' expired at 2026-01-01 00:00:00 UTC)"
        ]


ONE = (decision("approve", by="ann"), "approved 1.1")
ALREADY = "(request '1.1' is already approved by 'ann')"


@pytest.mark.parametrize(
    ("second", "sentence"),
    [
        # the same again is answered as before
        (decision("approve", by="ann"), "approved 1.1"),
        (decision("approve", by="ann", arguments_hash=hash_of(ASKED)), "approved 1.1"),
        (decision("approve", by="ann", arguments_hash=UNSEEN_HASH), "approved 1.1"),
        # another person, the contrary, or of other arguments: nothing of it happened
        (decision("approve", by="bo"), ALREADY),
        (decision("approve", by="bo", arguments_hash=UNSEEN_HASH), ALREADY),
        (decision("approve", arguments_hash=UNSEEN_HASH), ALREADY),
        (decision("deny", by="ann"), ALREADY),
        (decision("deny", by="ann", arguments_hash=UNSEEN_HASH), ALREADY),
        (decision("edit", by="ann", arguments=EDITED), ALREADY),
        (decision("approve", by="ann", arguments_hash=hash_of(EDITED)), ALREADY),
        (decision("answer", by="ann", answer=1), ALREADY),
    ],
)
def test_what_is_approved_stays_so(second: HumanDecision, sentence: str) -> None:
    inbound = steering_with(call_request())
    assert decided(inbound, ONE[0], second) == [ONE[1], sentence]
    assert inbound.settled["1.1"].arguments_hash == hash_of(ASKED)
    assert inbound.edits == {}


def test_an_edit_or_an_answer_again_is_the_same_only_with_the_same_value() -> None:
    inbound = steering_with(call_request())
    edit = decision("edit", by="ann", arguments=EDITED, arguments_hash=hash_of(ASKED))
    other = decision("edit", by="ann", arguments={**EDITED, "usd": 1})
    assert decided(inbound, edit, edit, other) == ["approved 1.1", "approved 1.1", ALREADY]
    assert inbound.edits == {"1.1": EDITED}

    inbound = steering_with(question(None))
    red, blue = (decision("answer", by="cy", answer=one) for one in ("red", "blue"))
    sentences = decided(inbound, red, red, blue)
    assert sentences == [
        "answered 1.1",
        "answered 1.1",
        "(request '1.1' is already answered by 'cy')",
    ]
    assert inbound.answers == {"1.1": "red"}


def test_an_answer_is_repeated_as_it_was_typed() -> None:
    inbound = steering_with(question(None))
    first, again = (
        decision("answer", by="cy", answer={"n": 1}),
        decision("answer", by="cy", answer='{"n": 1}', arguments_hash=UNSEEN_HASH),
    )
    assert decided(inbound, first, again) == ["answered 1.1", "answered 1.1"]
    other = again.model_copy(update={"answer": '{"n": 2}'})
    assert decided(inbound, other) == ["(request '1.1' is already answered by 'cy')"]


@pytest.mark.parametrize(
    ("fields", "trail"),
    [
        ({"outcome": "approved", "by": "bo", "approved_by": ["ann", "bo"]}, "approved by ann, bo"),
        ({"outcome": "approved"}, "approved by somebody"),
        ({"outcome": "approved", "edited_by": ""}, "approved by somebody, edited by somebody"),
        ({"outcome": "denied"}, "denied by somebody"),
        ({"outcome": "answered", "by": "cy", "comment": "hm"}, "answered by cy: hm"),
        ({"outcome": "expired", "audience": "leads"}, "expired by nobody of leads"),
    ],
)
def test_the_trail_in_words(fields: dict[str, Any], trail: str) -> None:
    assert decision_text(SettledRequest(request_id="1.1", **fields)) == trail


def test_what_ends_unsettled_is_told_so() -> None:
    assert decision_text(None) == ""
    assert denial(None, Approval(audience="leads")) == "the run is ending"
    assert question_result(None, None) == '{"unanswered":"the run is ending"}'


def test_comments_are_carried_on_cut() -> None:
    inbound = InboundState(
        settled={
            "1.1": SettledRequest(request_id="1.1", outcome="denied", comment="a fraud"),
            "2.1": SettledRequest(request_id="2.1", outcome="denied", comment="é" * 2_000),
        }
    )
    kept = recent_settled(inbound.settled)
    assert kept["1.1"].comment == "a fraud"
    assert 190 < len(kept["2.1"].comment.encode()) <= 200

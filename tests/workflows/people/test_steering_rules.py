"""Decisions as pure functions: what is refused, and what the accepted ones change."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from outlast_activities.policies.schema_checker import SchemaChecker
from outlast_workflows.people.outcomes import decision_text, denial, question_result
from outlast_workflows.people.steering_rules import (
    MAX_EDITS,
    decision_rejection,
    settle,
    voter_name,
)
from outlast_workflows.state import InboundState, recent_settled
from pydantic import JsonValue, ValidationError

from outlast import Approval, arguments
from outlast.contracts.conditions import Condition
from outlast.contracts.human import (
    MAX_VALUE_BYTES,
    MAX_VALUE_DEPTH,
    UNSEEN_HASH,
    HumanDecision,
    PendingRequest,
    SettledRequest,
    hash_of,
)
from outlast.jsonschema.schemas import Schema
from outlast.text.json_text import to_json

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PARAMETERS: Schema = {
    "type": "object",
    "properties": {"id": {"type": "string"}, "usd": {"type": "number", "multipleOf": 0.01}},
    "required": ["id", "usd"],
    "additionalProperties": False,
}
ASKED: dict[str, JsonValue] = {"id": "42", "usd": 80}
EDITED: dict[str, JsonValue] = {"id": "42", "usd": 9}

_checker = SchemaChecker()


def problem(value: JsonValue, schema: Schema) -> str | None:
    return _checker.problem(value, schema, key=to_json(schema))


def call_request(**fields: Any) -> PendingRequest:
    return PendingRequest(
        **{
            "request_id": "1.1",
            "tool": "refund",
            "arguments": ASKED,
            "arguments_hash": hash_of(ASKED),
            "audience": "leads",
            "opened_at": NOW,
            "expires_at": NOW,
            **fields,
        }
    )


def question(schema: JsonValue) -> PendingRequest:
    return call_request(kind="question", question="Which?", answer_schema=schema)


def steering_with(request: PendingRequest | None = None) -> InboundState:
    return InboundState(pending={request.request_id: request} if request else {})


def decision(what: str, **fields: Any) -> HumanDecision:
    return HumanDecision.model_validate({"request_id": "1.1", "decision": what, **fields})


def refusal(given_decision: HumanDecision, inbound: InboundState) -> str | None:
    return decision_rejection(
        given_decision,
        inbound,
        parameters=PARAMETERS,
        schema_check=problem,
        proof_check=lambda *_: None,
    )


def decided(inbound: InboundState, *decisions: HumanDecision) -> list[str]:
    """Take decisions one after another; return the sentence of each, a rejection in parentheses."""
    sentences = []
    for one in decisions:
        refused = refusal(one, inbound)
        sentences.append(f"({refused})" if refused else settle(one, inbound, now=NOW))
    return sentences


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


def test_the_same_person_counts_once() -> None:
    inbound = steering_with(call_request(quorum=3))
    ann, bo = decision("approve", by="ann"), decision("approve", by="bo")
    assert decided(inbound, ann, ann, bo) == [
        "counted for 1.1; 2 more to approve",
        "(by: 'ann' has approved '1.1' already; 2 more to approve)",
        "counted for 1.1; 1 more to approve",
    ]
    assert inbound.settled == {}
    assert inbound.pending["1.1"].approved_by == ["ann", "bo"]


WIDE = "\uff41\uff4e\uff4e"


@pytest.mark.parametrize(
    "again",
    [
        "ann",
        "ANN",
        "aNN",
        " ann ",
        "ann  ",
        WIDE,
        WIDE.upper(),
        WIDE.title(),
        "a\u207f\u207f",
        "\U0001d41ann",
    ],
)
@pytest.mark.parametrize("verb", ["approve", "edit"])
def test_a_vote_that_changes_nothing_is_rejected(verb: str, again: str) -> None:
    inbound = steering_with(call_request(quorum=3))
    fields: dict[str, Any] = {"arguments": EDITED} if verb == "edit" else {}
    decided(inbound, decision(verb, by="ann", **fields))
    before = inbound.model_dump_json()
    (sentence,) = decided(
        inbound,
        decision(verb, by=again, arguments_hash=inbound.pending["1.1"].arguments_hash, **fields),
    )
    assert "has approved '1.1' already; 2 more to approve" in sentence
    assert inbound.model_dump_json() == before


def test_edits_of_a_request_are_bounded() -> None:
    inbound = steering_with(call_request(quorum=2))
    edits = [decision("edit", by="ann", arguments={**EDITED, "usd": n}) for n in range(60)]
    sentences = decided(inbound, *edits)
    assert sentences[:MAX_EDITS] == ["counted for 1.1; 1 more to approve"] * MAX_EDITS
    assert all("were edited 50 times" in sentence for sentence in sentences[MAX_EDITS:])


@pytest.mark.parametrize("by", ["ann", "", "bo"])
def test_an_approval_after_an_edit_needs_the_hash(by: str) -> None:
    inbound = steering_with(call_request(quorum=2))
    decided(inbound, decision("edit", by="mallory", arguments={**EDITED, "usd": 1_000_000}))
    edited = inbound.pending["1.1"].arguments_hash
    (sentence,) = decided(inbound, decision("approve", by=by))
    assert (
        "arguments_hash: is required, because mallory edited the arguments: look at them"
        in sentence
    )
    assert edited in sentence
    assert decided(inbound, decision("approve", by="bo", arguments_hash=edited)) == ["approved 1.1"]


def test_a_denial_after_an_edit_needs_no_hash() -> None:
    inbound = steering_with(call_request(quorum=2))
    decided(inbound, decision("edit", by="mallory", arguments=EDITED))
    assert decided(inbound, decision("deny", by="ann")) == ["denied 1.1"]


def test_an_edit_voids_the_approvals_of_what_was_asked_before() -> None:
    inbound = steering_with(call_request(quorum=2))
    seen = hash_of(ASKED)
    sentences = decided(
        inbound,
        decision("approve", by="ann", arguments_hash=seen),
        decision("edit", by="bo", arguments=EDITED, arguments_hash=seen),
        decision("approve", by="cy", arguments_hash=seen),
        decision("approve", by="bo", arguments_hash=hash_of(EDITED)),
        decision("approve", by="ann", arguments_hash=hash_of(EDITED)),
    )
    assert sentences[:2] == ["counted for 1.1; 1 more to approve"] * 2
    assert "have changed" in sentences[2]
    assert sentences[3:] == [
        "(by: 'bo' has approved '1.1' already; 1 more to approve)",
        "approved 1.1",
    ]
    settled = inbound.settled["1.1"]
    assert settled.approved_by == ["bo", "ann"]
    assert (settled.edited_by, settled.arguments_hash) == ("bo", hash_of(EDITED))


def test_one_denial_is_enough_and_the_trail_says_whose_it_was() -> None:
    inbound = steering_with(call_request(quorum=2))
    sentences = decided(
        inbound, decision("approve", by="ann"), decision("deny", by="bo", comment="a fraud")
    )
    assert sentences == ["counted for 1.1; 1 more to approve", "denied 1.1"]
    settled = inbound.settled["1.1"]
    assert (settled.outcome, settled.by, settled.approved_by) == ("denied", "bo", ["ann"])
    assert decision_text(settled) == "denied by bo: a fraud"
    assert denial(settled, Approval(audience="leads")) == "denied by bo: a fraud"


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


def nested(levels: int) -> JsonValue:
    value: JsonValue = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    "wrong",
    [
        {"decision": "edit"},
        {"decision": "approve", "arguments": {}},
        {"decision": "answer"},
        {"decision": "approve", "answer": None},
        {"decision": "answer", "answer": "x" * MAX_VALUE_BYTES},
        {"decision": "edit", "arguments": {"id": "ж" * (MAX_VALUE_BYTES // 2)}},
        {"decision": "answer", "answer": nested(MAX_VALUE_DEPTH + 1)},
        {"decision": "approve", "by": "x" * 201},
        {"decision": "approve", "comment": "x" * 2_001},
        {"decision": "approve", "request_id": ""},
    ],
)
def test_a_malformed_decision_is_no_decision(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        HumanDecision.model_validate({"request_id": "1.1", **wrong})


def test_a_large_answer_and_a_deep_one_are_taken() -> None:
    decision("answer", answer="x" * (MAX_VALUE_BYTES - 2))
    decision("answer", answer=nested(MAX_VALUE_DEPTH))


@pytest.mark.parametrize(
    ("condition", "given_arguments"),
    [
        (arguments.usd > 50, {"usd": "nan"}),
        (arguments.usd > 50, {"usd": "sNaN"}),
        (arguments.usd == 50, {"usd": "nan"}),
        (arguments.usd > 50, {"usd": True}),
        (arguments.usd > 50, {"usd": [1]}),
        (arguments.country == "DE", {"country": ["DE"]}),
        (arguments.country == "DE", {"country": None}),
        (arguments.country != "DE", {"country": 5}),
        (arguments.force == False, {"force": 1}),  # noqa: E712 it makes a condition
        (arguments.usd.is_in(50, 100), {"usd": "50"}),
        (arguments.usd.is_in(50, 100), {"usd": {}}),
    ],
)
def test_what_cannot_be_told_of_an_argument_makes_a_person_look(
    condition: Condition, given_arguments: dict[str, JsonValue]
) -> None:
    assert condition.holds(given_arguments)


def test_what_can_be_told_is_told() -> None:
    assert not (arguments.note != None).holds({"note": None})  # noqa: E711 it makes a condition
    assert (arguments.note == None).holds({"note": None})  # noqa: E711 it makes a condition
    assert not (arguments.note == None).holds({"note": "x"})  # noqa: E711 it makes a condition
    assert not arguments.usd.is_in(50, 100).holds({"usd": 5})
    assert not arguments.usd.is_in().holds({"usd": 5})
    assert not (arguments.force == True).holds({"force": False})  # noqa: E712 it makes a condition


@pytest.mark.parametrize(
    "wrong",
    [
        {"op": "and"},
        {"op": "not"},
        {"op": "<"},
        {"op": "in", "path": ["a"], "value": "text"},
        {"op": "<", "path": ["a"], "parts": [{"op": "<", "path": ["a"], "value": 1}]},
        {"op": "not", "parts": [{"op": "<", "path": ["a"], "value": 1}] * 2},
    ],
)
def test_a_condition_that_could_not_be_computed_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Condition.model_validate(wrong)


SAID = st.fixed_dictionaries(
    {
        "request_id": st.sampled_from(["1.1"] * 8 + ["1.2", "9.9"]),
        "decision": st.sampled_from(["approve"] * 4 + ["edit"] * 4 + ["deny", "answer"]),
        "by": st.sampled_from(["ann", "bo", "cy", ""]),
        "arguments_hash": st.sampled_from([None] * 4 + [hash_of(ASKED), hash_of(EDITED), "0"]),
        "value": st.sampled_from([EDITED, EDITED, ASKED, {"id": 1}]),
    }
)


def said_as(fields: dict[str, Any]) -> HumanDecision:
    value = fields["value"]
    rest = {name: one for name, one in fields.items() if name != "value"}
    carried = {"edit": {"arguments": value}, "answer": {"answer": value}}
    return HumanDecision.model_validate({**rest, **carried.get(fields["decision"], {})})


@settings(max_examples=300, derandomize=True, deadline=None)
@given(st.lists(SAID, max_size=12), st.integers(1, 3))
def test_whatever_is_said_nothing_is_approved_but_what_enough_people_saw(
    sequence: list[dict[str, Any]], quorum: int
) -> None:
    inbound = steering_with(call_request(quorum=quorum))
    inbound.pending["1.2"] = question({"type": "object"}).model_copy(update={"request_id": "1.2"})
    standing, voters = ASKED, set[str]()
    for given_decision in map(said_as, sequence):
        before = inbound.model_copy(deep=True)
        (sentence,) = decided(inbound, given_decision)
        if sentence.startswith("(") or given_decision.request_id in before.settled:
            assert inbound == before, "what is refused, or settled already, changes nothing"
            continue
        if given_decision.arguments is not None:
            standing, voters = given_decision.arguments, set()
        if given_decision.decision in ("approve", "edit"):
            voters.add(given_decision.by)
        if inbound.settled.get("1.1") and "1.1" not in before.settled:
            settled = inbound.settled["1.1"]
            assert settled.arguments_hash == hash_of(standing)
            assert inbound.edits.get("1.1", ASKED) == standing
            assert (settled.outcome == "approved") == (given_decision.decision != "deny")
            assert settled.outcome == "denied" or len(voters) >= quorum


@pytest.mark.parametrize("name", ["Ann Lee", " ann  lee ", "ANN\tLEE"])
def test_case_and_white_space_make_nobody_another_person(name: str) -> None:
    first = call_request(quorum=2, approved_by=["ann lee"])
    inbound = InboundState(pending={"1.1": first})
    assert voter_name(decision("approve", by=name), inbound) == "ann lee"
    assert voter_name(decision("approve", by="bo"), inbound) == "bo"
    signed = InboundState(pending={"1.1": first.model_copy(update={"signers": ["ann lee", name]})})
    assert voter_name(decision("approve", by=name), signed) == name


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

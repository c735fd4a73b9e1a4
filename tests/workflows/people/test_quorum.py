"""Approvals that several people must give: who counts, and what an edit voids."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from outlast_workflows.people.outcomes import decision_text, denial
from outlast_workflows.people.steering_rules import (
    MAX_EDITS,
    voter_name,
)
from outlast_workflows.state import InboundState

from outlast import Approval
from outlast.contracts.human import (
    HumanDecision,
    hash_of,
)
from tests.workflows.people.decisions import (
    ASKED,
    EDITED,
    call_request,
    decided,
    decision,
    question,
    steering_with,
)


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

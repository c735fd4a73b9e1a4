"""What is checked without a server: requests, schemas and answers, decisions, proofs, links, texts."""

import contextlib
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st
from outlast_activities.generation.decision_text import decision_value
from outlast_activities.policies.signatures import refusal_of_proof
from outlast_workers.callback.links import Links
from outlast_workers.demand.demand_query import ParameterNames, parse_query
from outlast_workflows.display_text import call_summary, details
from pydantic import ValidationError

from outlast.contracts.conditions import Condition
from outlast.contracts.human import HumanDecision, PendingRequest, hash_of
from outlast.contracts.messages import ToolCall
from outlast.contracts.results import Progress
from outlast.contracts.usage import Usage
from outlast.signing import SigningKey
from outlast.start_requests import parse_request
from outlast.validation import parse
from tests.long.fuzz import strategies as of
from tests.long.fuzz.alarm import alarm, examples, refusals

NOW = datetime(2026, 1, 2, tzinfo=UTC)
ANN = SigningKey.generate("ann")


def request_with(arguments: dict[str, Any], **fields: Any) -> PendingRequest:
    return PendingRequest(
        request_id="1.1",
        tool="pay",
        arguments=arguments,
        arguments_hash=hash_of(arguments),
        audience="leads",
        nonce="5eed",
        opened_at=NOW,
        expires_at=NOW + timedelta(days=1),
        **fields,
    )


@examples(800)
@given(of.mangled(of.REQUESTS))
def test_a_request_is_taken_or_refused(data: bytes) -> None:
    with refusals():
        parse_request(data)


@examples(300)
@given(st.binary(max_size=60))
def test_bytes_are_refused(data: bytes) -> None:
    with refusals():
        parse_request(data)


@examples(600)
@given(of.mangled(of.DECISIONS))
def test_a_decision_is_taken_or_refused(data: bytes) -> None:
    with refusals():
        parse(HumanDecision, data, what="the payload of decide")


@examples(600)
@given(of.VALUES, of.VALUES, st.sampled_from(["<", "<=", ">", ">=", "==", "!=", "in"]))
def test_a_condition_holds_or_does_not(found: Any, value: Any, op: str) -> None:
    with alarm(), contextlib.suppress(ValidationError):
        condition = Condition.model_validate({"op": op, "path": ["a"], "value": value})
        arguments = {"a": found}
        holds, negated = condition.holds(arguments), (~condition).holds(arguments)
        assert holds or negated


@examples(300)
@given(of.TEXTS, st.dictionaries(of.TEXTS, of.VALUES, max_size=4), of.TEXTS, of.TEXTS)
def test_what_people_see_is_one_piece(
    tool: str, arguments: dict[str, Any], doing: str, run_id: str
) -> None:
    assume(of.is_encodable([tool, arguments, doing, run_id]))
    with alarm():
        summary = call_summary(ToolCall(tool=tool, arguments=arguments))
        assert len(summary.encode(errors="replace")) <= 400
        pending = [
            request_with(arguments),
            request_with(arguments, kind="question", question=doing, answer_schema={}),
        ]
        shown = details(
            Progress(
                agent="a",
                status="waiting_for_human",
                doing="acts",
                turn=1,
                max_turns=2,
                tool_calls=1,
                usage=Usage(),
                pending=pending,
            ),
            "run-1",
        )
        shown.encode(errors="replace")


@examples(600)
@given(st.data())
def test_a_proof_that_was_changed_is_refused(data: st.DataObject) -> None:
    request = request_with({"usd": 5})
    approve = HumanDecision(request_id="1.1", decision="approve", by="ann")
    signed = ANN.sign(approve, request, run_id="r1", at=NOW)
    token = str(signed.signature)
    # The last letter of base64 has bits that nobody reads.
    place = data.draw(st.integers(0, len(token) - 2))
    forged = token[:place] + data.draw(st.text(max_size=3)) + token[place + 1 :]
    assume(forged != token)
    decision = signed.model_copy(update={"signature": forged})
    with alarm():
        assert refusal_of_proof(decision, request, run_id="r1", keys={"ann": ANN.public}, now=NOW)


@examples(600)
@given(of.TEXTS, st.sampled_from(["approve", "deny"]), of.TEXTS)
def test_text_is_no_proof(signature: str, verb: Any, by: str) -> None:
    decision = HumanDecision.model_construct(
        request_id="1.1", decision=verb, by=by, signature=signature, comment=""
    )
    with alarm():
        assert refusal_of_proof(
            decision, request_with({}), run_id="r1", keys={"ann": ANN.public}, now=NOW
        )


@examples(800)
@given(st.data())
def test_a_link_that_was_changed_is_none(data: st.DataObject) -> None:
    links = Links("a secret of sixteen")
    token = links.url("run", "first", request_with({})).rpartition("/")[2]
    assert links.read(token) is not None
    forged = data.draw(
        st.one_of(
            of.TEXTS,
            st.integers(0, len(token) - 2).map(lambda n: token[:n] + "~" + token[n + 1 :]),
            st.integers(0, len(token) - 2).map(lambda n: token[:n]),
        )
    )
    with alarm():
        assert links.read(forged) is None


@examples(600)
@given(
    st.dictionaries(
        st.sampled_from([*vars(ParameterNames()).values(), "odd"]), of.TEXTS, max_size=5
    )
)
def test_a_question_about_demand_is_taken_or_refused(parameters: dict[str, str]) -> None:
    with refusals(ValueError):
        parse_query(parameters, ParameterNames(), default_slots=lambda _: 1)


@examples(600)
@given(st.one_of(of.TEXTS, of.VALUES.map(lambda value: f"Here:\n```json\n{value}\n```")))
def test_a_text_of_a_model_is_a_value_or_a_named_problem(text: str) -> None:
    with alarm(), contextlib.suppress(ValueError):
        decision_value(text)

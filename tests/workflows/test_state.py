"""The state that continue-as-new carries: nothing of it is lost, and handlers see it from the start."""

from datetime import UTC, datetime
from decimal import Decimal
from types import SimpleNamespace

import pytest
from outlast_workflows.agent import AgentWorkflow
from outlast_workflows.budget import Spending
from outlast_workflows.state import (
    Carried,
    InboundState,
    Pause,
    ReceivedMessage,
    RunState,
    Transcript,
    UndoStep,
)
from temporalio import workflow
from temporalio.api.common.v1 import Payload
from temporalio.common import RawValue

from outlast.contracts.agents import Leg, PinnedAgent, Route
from outlast.contracts.effects import CompanionTool
from outlast.contracts.human import PendingRequest, SettledRequest
from outlast.contracts.limits import RunLimits
from outlast.contracts.messages import Message
from outlast.contracts.proofs import SignedVote
from outlast.contracts.results import ServedLeg
from outlast.contracts.usage import Usage
from outlast.transcripts import digest_of

NOON = datetime(2026, 11, 26, 12, tzinfo=UTC)
ROUTE = Route(legs=(Leg(task_queue="generate"),))
MESSAGES = [Message(role="user", content="hello"), Message(role="assistant", content="{}")]
REQUEST = PendingRequest(
    request_id="2.1",
    tool="refund",
    arguments={"usd": 1},
    audience="leads",
    opened_at=NOON,
    expires_at=NOON,
)

# A new field needs a value here that is not its default: then the test below proves that it is carried.
INBOUND = InboundState(
    inbox=[ReceivedMessage(text="more", by="ann")],
    update_ids=["m1"],
    pending={"2.1": REQUEST},
    settled={"1.1": SettledRequest(request_id="1.1", outcome="approved", by="ann", at=NOON)},
    edits={"2.1": {"usd": 2}},
    answers={"1.2": "yes"},
    votes={"2.1": [SignedVote(by="ann", decision="approve", signature="a.b.c")]},
    paused=Pause(by="bo"),
    is_finishing=True,
)
STATE = RunState(
    agent=PinnedAgent(name="desk", instructions="Chat.", output_schema={}, route=ROUTE),
    agent_digest="d",
    limits=RunLimits(max_turns=7),
    tenant="acme",
    mode="conversation",
    has_search_attributes=True,
    has_audience_attribute=True,
    has_waiting_since_attribute=True,
    is_spec=True,
    key_base="chat/r1",
    inherited_key_base="lead/r1/1.1-desk",
    warnings=["spec.output: 'tpye' is unknown"],
    started_at=NOON,
    status="paused",
    doing="waits",
    transcript=Transcript(messages=MESSAGES, digest=digest_of(MESSAGES), sent=1),
    spending=Spending(
        turns=3,
        tool_calls=2,
        calls={"refund": 2},
        retries={"look": [3]},
        usage=Usage(prompt_tokens=10, cost_usd=Decimal("0.1")),
        last_usage=Usage(prompt_tokens=4),
        last_prompt_tokens=4,
    ),
    undo=[
        UndoStep(
            call_id="1.1",
            tool="book",
            companion=CompanionTool(tool="cancel"),
            arguments={"seat": "1A"},
            route=ROUTE,
            audience="leads",
        )
    ],
    cold={"generate": NOON},
    not_local=["look"],
    user_text="Refund 7, please.",
    handoff_targets={
        "bills": PinnedAgent(name="bills", instructions="Pay.", output_schema={}, route=ROUTE)
    },
    handoffs=["desk"],
    legs={"generate": ServedLeg(task_queue="generate", steps=3)},
)


@pytest.mark.parametrize(
    "state",
    [INBOUND, STATE, STATE.transcript, STATE.spending],
    ids=lambda state: type(state).__name__,
)
def test_these_states_have_a_value_in_each_field(
    state: InboundState | RunState | Transcript | Spending,
) -> None:
    fields = type(state).model_fields
    unset = [
        name
        for name in fields
        if getattr(state, name) == fields[name].get_default(call_default_factory=True)
    ]
    assert unset == []


def test_the_next_run_has_all_of_the_carried_state_before_any_handler_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        workflow, "info", lambda: SimpleNamespace(continued_run_id="r1", cron_schedule=None)
    )
    data = STATE.carried_with(INBOUND).model_dump_json().encode()
    made = AgentWorkflow(RawValue(Payload(metadata={"encoding": b"json/plain"}, data=data)))
    state = made._restored_state
    assert made.target.inbound == INBOUND
    assert state is not None
    # The digest of the agent is computed anew.
    assert state.model_copy(update={"agent_digest": "d"}) == STATE


def test_a_first_run_takes_no_carried_state_from_a_person(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workflow, "info", lambda: SimpleNamespace(continued_run_id=None))
    data = Carried(state=STATE, inbound=INBOUND, packed="").model_dump_json().encode()
    made = AgentWorkflow(RawValue(Payload(metadata={"encoding": b"json/plain"}, data=data)))
    assert made.target.inbound == InboundState()
    assert made._restored_state is None

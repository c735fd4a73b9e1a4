"""Each invariant of a storm reports its violation: a storm that cannot fail shows nothing."""

from dataclasses import replace

import pytest

from outlast import AgentResult
from outlast.contracts.results import CompensationOutcome
from tests.long.chaos.driver import Driven
from tests.long.chaos.invariants import Outcome, Storm, violations
from tests.long.chaos.ledger import Arrival
from tests.long.chaos.mix import PlannedRun
from tests.long.chaos.robot import Vote

RUN = "chaos-1-effects"
REPORT = {"text": "done", "turns": 1}
BOOKED = Arrival("effect", "r1", "book", "key", RUN, "1.1", 0, 1.0)
UNDONE = replace(BOOKED, kind="undo", tool="cancel", at=2.0)
PAID = replace(BOOKED, ref="r2", tool="pay", call_id="2.1", amount=5)
LATER = replace(BOOKED, ref="r3", call_id="3.1", key="key3")
VOTE = Vote("ann", "approve", "taken", 5)

ANSWERED = Outcome(RUN, "completed", AgentResult(status="completed", output=REPORT))
CANCELLED = Outcome(RUN, "stopped", AgentResult(status="stopped", stop_reason="cancelled"))
FAILED = Outcome(RUN, "failed", failure_type="ToolFailed", message="declined")
LEFT = AgentResult(
    status="stopped",
    stop_reason="cancelled",
    compensations=[CompensationOutcome(call_id="1.1", tool="book", outcome="not_undone")],
)


def storm_of(outcome: Outcome, *arrivals: Arrival, **votes: list[Vote]) -> Storm:
    driven = Driven(PlannedRun(RUN, "effects", "answer", 0), started=True)
    return Storm([driven], {RUN: outcome}, arrivals, {(RUN, key): votes[key] for key in votes})


def kinds(storm: Storm) -> list[str]:
    return [violation.kind for violation in violations(storm)]


@pytest.mark.parametrize(
    "storm",
    [
        storm_of(ANSWERED, BOOKED),
        storm_of(FAILED, BOOKED, UNDONE),
        storm_of(FAILED, BOOKED, LATER, replace(LATER, kind="undo"), UNDONE),
        storm_of(CANCELLED, BOOKED, BOOKED, UNDONE, UNDONE),  # each repeated with its key
        storm_of(replace(CANCELLED, result=LEFT), BOOKED),  # the result names it
        replace(storm_of(ANSWERED, PAID), votes={(RUN, "2.1"): [VOTE]}),
    ],
)
def test_a_storm_without_a_fault_has_no_violation(storm: Storm) -> None:
    assert kinds(storm) == []


@pytest.mark.parametrize(
    ("storm", "kind"),
    [
        (storm_of(Outcome(RUN, "lost")), "lost run"),
        (storm_of(Outcome(RUN, "hung")), "hung run"),
        (storm_of(replace(FAILED, failure_type="InternalError")), "unplanned failure"),
        (storm_of(ANSWERED, BOOKED, replace(BOOKED, key="other")), "doubled effect"),
        (storm_of(CANCELLED, BOOKED, UNDONE, replace(UNDONE, key="other")), "compensated twice"),
        (
            storm_of(FAILED, BOOKED, LATER, UNDONE, replace(LATER, kind="undo")),
            "compensated out of order",
        ),
        (storm_of(ANSWERED, BOOKED, UNDONE), "compensated although completed"),
        (storm_of(CANCELLED, BOOKED), "effect not undone"),
        (storm_of(ANSWERED, PAID), "approval bypassed"),
        (
            replace(storm_of(ANSWERED, PAID), votes={(RUN, "2.1"): [replace(VOTE, amount=6)]}),
            "approval bypassed",
        ),
        (
            replace(
                storm_of(ANSWERED), votes={(RUN, "2.1"): [Vote("ann", "late", "taken", amount=5)]}
            ),
            "approval bypassed",
        ),
        (
            storm_of(replace(ANSWERED, result=AgentResult(status="completed", output={"text": 1}))),
            "wrong type of answer",
        ),
    ],
)
def test_a_violation_is_reported(storm: Storm, kind: str) -> None:
    assert kinds(storm) == [kind]


@pytest.mark.parametrize(
    ("transcript", "kind"),
    [(["say-1-0"], None), (["say-1-0"] * 2, "message accepted twice"), ([], "message lost")],
)
def test_messages_are_in_the_transcript_once(transcript: list[str], kind: str | None) -> None:
    planned = PlannedRun(RUN, "conversation", "answer", 0, says=[(0, "say-1-0")])
    driven = Driven(planned, started=True, answers={"say-1-0": REPORT})
    storm = Storm([driven], {RUN: ANSWERED}, [], {}, {RUN: transcript})
    assert kinds(storm) == ([kind] if kind else [])

"""What must hold after a storm, checked from the ledger, the results and the votes. Pure functions."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

from pydantic import JsonValue, ValidationError

from outlast import AgentResult
from tests.long.chaos.agents import COMPENSATED, QUORUM, Report
from tests.long.chaos.driver import Driven
from tests.long.chaos.ledger import Arrival
from tests.long.chaos.robot import Vote

KINDS = (
    "lost run",
    "hung run",
    "unplanned failure",
    "doubled effect",
    "message lost",
    "message accepted twice",
    "compensated twice",
    "compensated out of order",
    "compensated although completed",
    "effect not undone",
    "approval bypassed",
    "wrong type of answer",
    "history does not replay",
    "failed workflow task",
)

PLANNED_FAILURES = ("ToolFailed",)
MODEL_FAILURES = "Model"
"""Failure types that the storm explains: a tool that fails by plan, a model that fails by chance."""


@dataclass(frozen=True)
class Violation:
    kind: str
    where: str
    detail: str

    def __post_init__(self) -> None:
        assert self.kind in KINDS, self.kind


@dataclass(frozen=True)
class Outcome:
    """How a workflow ended: with a result, or with a failure's type and line."""

    workflow_id: str
    status: Literal["completed", "stopped", "failed", "hung", "lost"]
    result: AgentResult | None = None
    failure_type: str = ""
    message: str = ""


@dataclass(frozen=True)
class Storm:
    """All that is known of a storm."""

    driven: Sequence[Driven]
    outcomes: Mapping[str, Outcome]
    """By workflow id, child runs included."""
    arrivals: Sequence[Arrival]
    votes: Mapping[tuple[str, str], Sequence[Vote]]
    messages: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Tokens in a conversation's transcript, by workflow id."""


def violations(storm: Storm) -> list[Violation]:
    """Return everything that must not have happened."""
    return [
        *_ends(storm),
        *_doubled(storm),
        *_messages(storm),
        *_compensations(storm),
        *_approvals(storm),
        *_answers(storm),
    ]


def repeats_with_one_key(arrivals: Iterable[Arrival]) -> int:
    """Return how many arrivals a receiver that honours keys has to ignore."""
    seen = [(one.kind, one.ref, one.key) for one in arrivals if one.kind in ("effect", "undo")]
    return len(seen) - len(set(seen))


def _ends(storm: Storm) -> Iterator[Violation]:
    refused = {one.planned.id: one.refused for one in storm.driven}
    for outcome in storm.outcomes.values():
        if outcome.status == "lost":
            yield Violation("lost run", outcome.workflow_id, "the server does not know it")
        elif outcome.status == "hung":
            said = refused.get(outcome.workflow_id) or "nothing"
            detail = f"{outcome.message}; refused: {said}"
            yield Violation("hung run", outcome.workflow_id, detail)
        elif outcome.status == "failed":
            is_planned = outcome.failure_type in PLANNED_FAILURES or (
                outcome.failure_type.startswith(MODEL_FAILURES)
            )
            if not is_planned:
                detail = f"{outcome.failure_type}: {outcome.message}"
                yield Violation("unplanned failure", outcome.workflow_id, detail)


def _doubled(storm: Storm) -> Iterator[Violation]:
    keys: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    for one in storm.arrivals:
        if one.kind in ("effect", "undo"):
            keys[one.kind, one.ref].add(one.key)
    for (kind, ref), different in keys.items():
        if len(different) > 1:
            named = "doubled effect" if kind == "effect" else "compensated twice"
            yield Violation(named, ref, f"keys {sorted(different)}")


def _messages(storm: Storm) -> Iterator[Violation]:
    for one in storm.driven:
        tokens = storm.messages.get(one.planned.id)
        if tokens is None:
            continue
        for token in sorted(set(tokens)):
            if tokens.count(token) > 1:
                yield Violation("message accepted twice", one.planned.id, token)
        outcome = storm.outcomes.get(one.planned.id)
        is_completed = outcome is not None and outcome.status == "completed"
        for token in [*one.answers, *(one.accepted if is_completed else [])]:
            if token not in tokens:
                yield Violation("message lost", one.planned.id, token)


def _compensations(storm: Storm) -> Iterator[Violation]:
    by_workflow: defaultdict[str, list[Arrival]] = defaultdict(list)
    for one in storm.arrivals:
        by_workflow[one.workflow_id].append(one)
    for workflow_id, arrivals in by_workflow.items():
        outcome = storm.outcomes.get(workflow_id)
        if outcome is None or outcome.status in ("hung", "lost"):
            continue
        undone = [one for one in arrivals if one.kind == "undo"]
        if outcome.status == "completed":
            for one in undone:
                yield Violation("compensated although completed", workflow_id, one.ref)
            continue
        turns = [one.turn for one in _first(undone)]
        if any(later > earlier for earlier, later in pairwise(turns)):
            yield Violation("compensated out of order", workflow_id, f"turns {turns}")
        refs = {one.ref for one in undone}
        for one in _first(one for one in arrivals if one.kind == "effect"):
            if one.tool not in COMPENSATED or one.ref in refs or _is_named(one.call_id, outcome):
                continue
            detail = f"{one.tool} (call {one.call_id}, {one.ref}); {_line(outcome)}"
            yield Violation("effect not undone", workflow_id, detail)


def _first(arrivals: Iterable[Arrival]) -> list[Arrival]:
    return list({one.ref: one for one in reversed(list(arrivals))}.values())[::-1]


def _is_named(call_id: str, outcome: Outcome) -> bool:
    named = [] if outcome.result is None else outcome.result.compensations
    return any(one.call_id == call_id for one in named) or f"(call {call_id})" in outcome.message


def _line(outcome: Outcome) -> str:
    reason = outcome.result.stop_reason if outcome.result else outcome.message
    return f"{outcome.status}: {reason}"


def _approvals(storm: Storm) -> Iterator[Violation]:
    for one in storm.arrivals:
        if one.kind != "effect" or one.tool not in QUORUM:
            continue
        votes = storm.votes.get((one.workflow_id, one.call_id), ())
        where = f"{one.workflow_id} {one.call_id} ({one.tool})"
        approvers = {vote.by for vote in votes if vote.verb in ("approve", "edit")}
        if len(approvers) < QUORUM[one.tool]:
            yield Violation("approval bypassed", where, f"votes {list(votes)}")
        if any(vote.verb == "deny" and vote.outcome == "taken" for vote in votes):
            yield Violation("approval bypassed", where, "it was denied")
        if votes and one.amount not in {vote.amount for vote in votes}:
            yield Violation("approval bypassed", where, f"amount {one.amount} of {list(votes)}")
    for (run_id, request_id), votes in storm.votes.items():
        if any(vote.verb == "late" and vote.outcome == "taken" for vote in votes):
            yield Violation("approval bypassed", f"{run_id} {request_id}", "taken after it expired")


def _answers(storm: Storm) -> Iterator[Violation]:
    for outcome in storm.outcomes.values():
        if outcome.status == "completed" and outcome.result is not None:
            yield from _answer(outcome.workflow_id, outcome.result.output)
    for one in storm.driven:
        for answer in one.answers.values():
            yield from _answer(one.planned.id, answer)


def _answer(where: str, value: JsonValue) -> Iterator[Violation]:
    try:
        Report.model_validate(value)
    except ValidationError:
        yield Violation("wrong type of answer", where, repr(value)[:100])

"""Steering: checks what people tell a run against its state, and records what is accepted.

`refusal_of…` functions are pure; the workflow calls them from update validators and for signals.
"""

from collections.abc import Callable
from datetime import datetime

from pydantic import JsonValue

from outlast.contracts.human import (
    HumanDecision,
    PendingRequest,
    SettledRequest,
    hash_of,
    what_became,
)
from outlast.contracts.proofs import nonce_after
from outlast.errors import ModelError
from outlast.jsonschema.schemas import Schema
from outlast.texts import folded_name
from outlast_workflows.state import Steering

MAX_INBOX = 100
"""Messages that wait for a turn: a person does not type more, and a loop that does is refused."""

MAX_HEARD = 100
"""Messages that are remembered by their updates, which whoever was cut off may send again."""

Problem = Callable[[JsonValue, Schema], str | None]
"""Tells what is wrong with a value by a JSON Schema, in one line."""

Unproved = Callable[[HumanDecision, PendingRequest], str | None]
"""Tells why a decision about a request is not proved to be its maker's, in one sentence."""

_OUTCOMES = {"approve": "approved", "edit": "approved", "deny": "denied", "answer": "answered"}


def refusal_of_decision(
    decision: HumanDecision,
    steering: Steering,
    *,
    parameters: Schema | None,
    problem: Problem,
    unproved: Unproved,
) -> str | None:
    """Return why a decision cannot be taken, in one sentence, or None.

    `parameters` is the schema of the arguments of the tool that the request is about.
    """
    settled = steering.settled.get(decision.request_id)
    if settled is not None:
        return _refusal_of_late(decision, settled)
    request = steering.pending.get(decision.request_id)
    if request is None:
        pending = ", ".join(map(repr, steering.pending)) or "none"
        return f"request_id: {decision.request_id!r} is not pending; pending: {pending}"
    if decision.arguments_hash not in (None, request.arguments_hash):
        return (
            f"arguments_hash: the arguments of request {request.request_id!r} are others by now "
            f"({request.arguments_hash}): look at them again"
        )
    refusal = unproved(decision, request)
    if refusal is not None:
        return refusal
    if request.kind == "question":
        return _refusal_of_answer(decision, request, problem)
    return _refusal_of_vote(decision, request, parameters, problem)


def _refusal_of_late(decision: HumanDecision, settled: SettledRequest) -> str | None:
    return None if _is_repeated(decision, settled) else what_became(settled)


def _is_repeated(decision: HumanDecision, settled: SettledRequest) -> bool:
    """Tell whether somebody says again what is settled: of the same arguments, the same answer."""
    if settled.outcome != _OUTCOMES[decision.decision]:
        return False
    if folded_name(decision.by) not in map(folded_name, (settled.by, *settled.approved_by)):
        return False
    if decision.arguments is not None:
        return hash_of(decision.arguments) == settled.arguments_hash
    if decision.decision == "answer":
        return _hash_of_answer(decision) == settled.answer_hash
    return decision.arguments_hash in (None, settled.arguments_hash)


def _hash_of_answer(decision: HumanDecision) -> str:
    return hash_of({"answer": decision.answer}) if decision.decision == "answer" else ""


def _refusal_of_answer(
    decision: HumanDecision, request: PendingRequest, problem: Problem
) -> str | None:
    if decision.decision == "deny":
        return None
    if decision.decision != "answer":
        return f"decision: request {request.request_id!r} is a question: 'answer' it, or 'deny'"
    schema = request.answer_schema
    wrong = _wrong(problem, decision.answer, schema) if isinstance(schema, dict) else None
    return None if wrong is None else f"answer: {wrong}"


def _refusal_of_vote(
    decision: HumanDecision,
    request: PendingRequest,
    parameters: Schema | None,
    problem: Problem,
) -> str | None:
    if decision.decision == "answer":
        return f"decision: request {request.request_id!r} is a call: 'approve', 'edit' or 'deny' it"
    if request.quorum > 1 and decision.decision != "deny" and not decision.by:
        return f"by: this call needs {request.quorum} people to approve; say who you are"
    if decision.arguments is None or parameters is None:
        return None
    wrong = _wrong(problem, decision.arguments, parameters)
    return None if wrong is None else f"arguments: {wrong}"


def _wrong(problem: Problem, value: JsonValue, schema: Schema) -> str | None:
    """Return what is wrong with a value; a check that breaks on it is no reason to end the run."""
    try:
        return problem(value, schema)
    except (ModelError, ArithmeticError, RecursionError) as error:
        return f"cannot be checked: {error}"


def known_name(decision: HumanDecision, steering: Steering) -> str:
    """Return the name by which a request knows whoever decides: case and white space make nobody another.

    Signers are told apart by their keys.
    """
    request = steering.pending.get(decision.request_id)
    voted = request.approved_by if request and not request.signers else []
    same = (name for name in voted if folded_name(name) == folded_name(decision.by))
    return next(same, decision.by)


def settle(decision: HumanDecision, steering: Steering, *, now: datetime) -> str:
    """Record a decision that was not refused and return a sentence for whoever made it."""
    request = steering.pending.get(decision.request_id)
    if decision.request_id in steering.settled or request is None:
        return f"{_OUTCOMES[decision.decision]} {decision.request_id}"
    if decision.decision in ("approve", "edit"):
        request = _voted(request, decision)
        steering.pending[request.request_id] = request
        if decision.arguments is not None:
            steering.edits[request.request_id] = decision.arguments
        missing = request.quorum - len(request.approved_by)
        if missing > 0:
            return f"counted for {request.request_id}; {missing} more to approve"
    if decision.decision == "answer":
        steering.answers[request.request_id] = decision.answer
    steering.settled[request.request_id] = _settled(request, decision, now)
    return f"{_OUTCOMES[decision.decision]} {request.request_id}"


def _voted(request: PendingRequest, decision: HumanDecision) -> PendingRequest:
    """Return a request with one more approval; an edit voids those of the arguments before."""
    if decision.arguments is None:
        others = [name for name in request.approved_by if name != decision.by]
        return request.model_copy(update={"approved_by": [*others, decision.by]})
    return request.model_copy(
        update={
            "arguments": decision.arguments,
            "arguments_hash": hash_of(decision.arguments),
            "approved_by": [decision.by],
            "edited_by": decision.by,
            "nonce": request.nonce and nonce_after(request.nonce, decision.arguments),
        }
    )


def _settled(request: PendingRequest, decision: HumanDecision, now: datetime) -> SettledRequest:
    return SettledRequest.model_validate(
        {
            "request_id": request.request_id,
            "tool": request.tool,
            "outcome": _OUTCOMES[decision.decision],
            "by": decision.by,
            "approved_by": list(filter(None, request.approved_by)),
            "comment": decision.comment,
            "edited_by": request.edited_by,
            "arguments_hash": request.arguments_hash,
            "answer_hash": _hash_of_answer(decision),
            "audience": request.audience,
            "at": now,
        }
    )


def refusal_of_message(steering: Steering) -> str | None:
    """Return why a message cannot be taken, in one sentence, or None."""
    if len(steering.inbox) >= MAX_INBOX:
        return f"{MAX_INBOX} messages already wait for the next turn; wait for it"
    return None


def heard_first(update_id: str, steering: Steering) -> bool:
    """Note a message by its update's id; tell whether it is new. Temporal knows those of one run alone."""
    if not update_id:
        return True
    if update_id in steering.heard:
        return False
    steering.heard = [*steering.heard[-MAX_HEARD + 1 :], update_id]
    return True

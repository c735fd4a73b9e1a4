"""Rules for decisions and messages of people: which ones a run rejects, and what the others change.

`…_rejection` functions return the reason, or None. They change nothing: update validators call them.
"""

from collections.abc import Callable
from datetime import datetime

from pydantic import JsonValue

from outlast.contracts.human import (
    OUTCOMES,
    HumanDecision,
    PendingRequest,
    SettledRequest,
    answer_hash,
    hash_of,
    is_repeated,
    outcome_text,
)
from outlast.contracts.proofs import nonce_after, vote_of
from outlast.errors import ModelError
from outlast.jsonschema.schemas import Schema
from outlast.text.texts import folded_name
from outlast_workflows.state import InboundState

MAX_INBOX = 100
"""Messages that wait for a turn. A person does not type more; a program in a loop is stopped here."""

MAX_EDITS = 50
"""Edits of one request. Each is an update, and the server allows 2,000 updates of a run."""

MAX_UPDATE_IDS = 100
"""Ids of the last messages and decisions. A client that lost its connection may send one again."""

SchemaCheck = Callable[[JsonValue, Schema], str | None]
"""Returns what a JSON Schema does not allow about a value, in one line, or None."""

ProofCheck = Callable[[HumanDecision, PendingRequest], str | None]
"""Returns why the signature of a decision is not valid, in one sentence, or None."""


def decision_rejection(
    decision: HumanDecision,
    inbound: InboundState,
    *,
    parameters: Schema | None,
    schema_check: SchemaCheck,
    proof_check: ProofCheck,
) -> str | None:
    """Return why a decision is rejected, in one sentence, or None.

    `parameters` is the JSON Schema of the arguments of the request's tool.
    """
    settled = inbound.settled.get(decision.request_id)
    if settled is not None:
        return None if is_repeated(decision, settled) else outcome_text(settled)
    request = inbound.pending.get(decision.request_id)
    if request is None:
        pending = ", ".join(map(repr, inbound.pending)) or "none"
        return f"request_id: {decision.request_id!r} is not pending; pending: {pending}"
    rejection = _hash_rejection(decision, request) or proof_check(decision, request)
    if rejection is not None:
        return rejection
    if request.kind == "question":
        return _answer_rejection(decision, request, schema_check)
    return _vote_rejection(decision, request, parameters, schema_check)


def _hash_rejection(decision: HumanDecision, request: PendingRequest) -> str | None:
    """Return why the hash of a decision is not that of the arguments, or None."""
    editor = request.edited_by
    if editor is not None and decision.decision == "approve" and decision.arguments_hash is None:
        return (
            f"arguments_hash: is required, because {editor or 'somebody'} edited the arguments: look at"
            f" them again; their hash is {request.arguments_hash!r}"
        )
    if decision.arguments_hash in (None, request.arguments_hash):
        return None
    return (
        f"arguments_hash: the arguments of request {request.request_id!r} have changed "
        f"({request.arguments_hash}): look at them again"
    )


def _answer_rejection(
    decision: HumanDecision, request: PendingRequest, schema_check: SchemaCheck
) -> str | None:
    if decision.decision == "deny":
        return None
    if decision.decision != "answer":
        return f"decision: request {request.request_id!r} is a question: 'answer' it, or 'deny'"
    schema = request.answer_schema
    if not isinstance(schema, dict):
        return None
    problem = _schema_problem(schema_check, decision.answer, schema)
    return None if problem is None else f"answer: {problem}"


def _vote_rejection(
    decision: HumanDecision,
    request: PendingRequest,
    parameters: Schema | None,
    schema_check: SchemaCheck,
) -> str | None:
    if decision.decision == "answer":
        return f"decision: request {request.request_id!r} is a call: 'approve', 'edit' or 'deny' it"
    if request.quorum > 1 and decision.decision != "deny" and not decision.by:
        return f"by: this call needs {request.quorum} people to approve; give your name"
    if _changes_nothing(decision, request):
        missing = request.quorum - len(request.approved_by)
        return f"by: {decision.by!r} has approved {request.request_id!r} already; {missing} more to approve"
    if decision.arguments is not None and request.edits >= MAX_EDITS:
        return (
            f"decision: the arguments were edited {MAX_EDITS} times: 'approve' or 'deny' the call"
        )
    if decision.arguments is None or parameters is None:
        return None
    problem = _schema_problem(schema_check, decision.arguments, parameters)
    return None if problem is None else f"arguments: {problem}"


def _changes_nothing(decision: HumanDecision, request: PendingRequest) -> bool:
    """Tell whether a vote repeats itself. An update that is accepted counts for the server's limit."""
    voters = request.approved_by
    is_known = decision.by in voters or (
        not request.signers and folded_name(decision.by) in map(folded_name, voters)
    )
    if decision.decision == "approve":
        return is_known
    is_same_edit = decision.decision == "edit" and decision.arguments == request.arguments
    return is_same_edit and is_known and len(voters) == 1


def _schema_problem(schema_check: SchemaCheck, value: JsonValue, schema: Schema) -> str | None:
    """Return what is wrong with a value. A check that fails must not end the run."""
    try:
        return schema_check(value, schema)
    except (ModelError, ArithmeticError, RecursionError) as error:
        return f"cannot be checked: {error}"


def voter_name(decision: HumanDecision, inbound: InboundState) -> str:
    """Return the name under which the same person has voted already, or else the decision's own.

    Case and white space do not matter. Signers are known by their keys, so their names stay as they are.
    """
    request = inbound.pending.get(decision.request_id)
    voters = request.approved_by if request and not request.signers else []
    same_voters = (name for name in voters if folded_name(name) == folded_name(decision.by))
    return next(same_voters, decision.by)


def settle(decision: HumanDecision, inbound: InboundState, *, now: datetime) -> str:
    """Apply a decision that was not rejected, and return a sentence for its maker."""
    request = inbound.pending.get(decision.request_id)
    if decision.request_id in inbound.settled or request is None:
        return f"{OUTCOMES[decision.decision]} {decision.request_id}"
    if decision.decision in ("approve", "edit"):
        request = _with_vote(request, decision)
        inbound.pending[request.request_id] = request
        _keep_signature(decision, inbound)
        if decision.arguments is not None:
            inbound.edits[request.request_id] = decision.arguments
        missing = request.quorum - len(request.approved_by)
        if missing > 0:
            return f"counted for {request.request_id}; {missing} more to approve"
    if decision.decision == "answer":
        inbound.answers[request.request_id] = decision.answer
    inbound.settled[request.request_id] = _settled_request(request, decision, now)
    return f"{OUTCOMES[decision.decision]} {request.request_id}"


def _keep_signature(decision: HumanDecision, inbound: InboundState) -> None:
    """Keep a signed vote for the worker of the call. An edit makes the earlier votes invalid."""
    votes = [] if decision.decision == "edit" else inbound.votes.get(decision.request_id, [])
    others = [vote for vote in votes if vote.by != decision.by]
    vote = vote_of(decision)
    inbound.votes[decision.request_id] = others if vote is None else [*others, vote]


def _with_vote(request: PendingRequest, decision: HumanDecision) -> PendingRequest:
    """Return a request with one more approval. An edit removes the approvals of the earlier arguments."""
    if decision.arguments is None:
        others = [name for name in request.approved_by if name != decision.by]
        return request.model_copy(update={"approved_by": [*others, decision.by]})
    return request.model_copy(
        update={
            "arguments": decision.arguments,
            "arguments_hash": hash_of(decision.arguments),
            "approved_by": [decision.by],
            "edited_by": decision.by,
            "edits": request.edits + 1,
            "nonce": request.nonce and nonce_after(request.nonce, decision.arguments),
        }
    )


def _settled_request(
    request: PendingRequest, decision: HumanDecision, now: datetime
) -> SettledRequest:
    return SettledRequest.model_validate(
        {
            "request_id": request.request_id,
            "tool": request.tool,
            "outcome": OUTCOMES[decision.decision],
            "by": decision.by,
            "approved_by": list(filter(None, request.approved_by)),
            "comment": decision.comment,
            "edited_by": request.edited_by,
            "arguments_hash": request.arguments_hash,
            "answer_hash": answer_hash(decision.answer) if decision.decision == "answer" else "",
            "audience": request.audience,
            "at": now,
        }
    )


def message_rejection(inbound: InboundState) -> str | None:
    """Return why a message is rejected, in one sentence, or None."""
    if len(inbound.inbox) >= MAX_INBOX:
        return f"{MAX_INBOX} messages already wait for the next turn; try again after it"
    return None


def record_update(update_id: str, inbound: InboundState) -> bool:
    """Record the id of an update that adds or answers something; return whether it is new.

    Temporal itself knows the update ids of one run only, and a conversation may be a chain of runs.
    """
    if not update_id:
        return True
    if update_id in inbound.update_ids:
        return False
    inbound.update_ids = [*inbound.update_ids[-MAX_UPDATE_IDS + 1 :], update_id]
    return True

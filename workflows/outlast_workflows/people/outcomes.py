"""Outcomes of human requests, as the model and people read them."""

from pydantic import JsonValue

from outlast.contracts.human import Approval, SettledRequest
from outlast.text.json_text import to_json

RUN_IS_ENDING = "the run is ending"


def denial(settled: SettledRequest | None, approval: Approval) -> str | None:
    """Return why a call may not be made, or None if it may."""
    if settled is None:
        return RUN_IS_ENDING
    if settled.outcome == "expired":
        # Too few people approved an edit: then neither the edit nor the call before it is approved.
        if approval.on_expiry == "approve" and settled.edited_by is None:
            return None
        return f"{_missing_approval(settled, approval)} within {approval.expires_s:g} s"
    if settled.outcome == "approved":
        return None
    return f"denied by {_decider(settled)}"


def question_result(settled: SettledRequest | None, answer: JsonValue) -> str:
    """Return the JSON text that a model reads as the result of a question."""
    if settled is None:
        return to_json({"unanswered": RUN_IS_ENDING})
    if settled.outcome == "answered":
        return to_json({"answer": answer})
    if settled.outcome == "expired":
        return to_json({"unanswered": f"nobody of {settled.audience} answered in time"})
    return to_json({"declined": _decider(settled)})


def decision_text(settled: SettledRequest | None) -> str:
    """Return who decided about a call, in words, for the transcript."""
    if settled is None:
        return ""
    edited = "" if settled.edited_by is None else f", edited by {settled.edited_by or 'somebody'}"
    comment = f": {settled.comment}" if settled.comment else ""
    people = settled.by or "somebody"
    if settled.outcome == "approved":
        people = ", ".join(settled.approved_by) or "somebody"
    if settled.outcome == "expired":
        people = f"nobody of {settled.audience}"
    return f"{settled.outcome} by {people}{edited}{comment}"


def question_outcome(settled: SettledRequest | None) -> str:
    """Return the outcome of a question of outlast itself, in words."""
    if settled is None:
        return RUN_IS_ENDING
    if settled.outcome == "expired":
        return f"nobody of {settled.audience} answered"
    comment = f": {settled.comment}" if settled.comment else ""
    return f"{settled.by or settled.audience} {settled.outcome}{comment}"


def _decider(settled: SettledRequest) -> str:
    person = settled.by or settled.audience
    return f"{person}: {settled.comment}" if settled.comment else person


def _missing_approval(settled: SettledRequest, approval: Approval) -> str:
    if settled.approved_by:
        count = len(settled.approved_by)
        return f"{count} of {approval.quorum} people of {settled.audience} approved"
    return f"nobody of {settled.audience} answered"

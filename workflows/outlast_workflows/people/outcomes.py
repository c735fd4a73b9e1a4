"""Outcomes of human requests: what the model reads of them, and what the trail says."""

from pydantic import JsonValue

from outlast.contracts.human import Approval, SettledRequest
from outlast.json_text import to_json

ENDING = "the run is ending"


def refusal_by(settled: SettledRequest | None, clock: Approval) -> str | None:
    """Return why a call may not be made, or None if it may."""
    if settled is None:
        return ENDING
    if settled.outcome == "expired":
        # An edit that too few approved is nobody's wish, and neither is the call that it changed.
        if clock.on_expiry == "approve" and settled.edited_by is None:
            return None
        return f"{_nobody(settled, clock)} within {clock.expires_s:g} s"
    if settled.outcome == "approved":
        return None
    by = settled.by or settled.audience
    return f"denied by {by}: {settled.comment}" if settled.comment else f"denied by {by}"


def reply_of(settled: SettledRequest | None, answer: JsonValue) -> str:
    """Return the JSON text that a model reads as the result of a question."""
    if settled is None:
        return to_json({"unanswered": ENDING})
    if settled.outcome == "answered":
        return to_json({"answer": answer})
    if settled.outcome == "expired":
        return to_json({"unanswered": f"nobody of {settled.audience} answered in time"})
    by = settled.by or settled.audience
    return to_json({"declined": f"{by}: {settled.comment}" if settled.comment else by})


def trail_of(settled: SettledRequest | None) -> str:
    """Return who decided on a call, in words, for the transcript."""
    if settled is None:
        return ""
    edited = "" if settled.edited_by is None else f", edited by {settled.edited_by or 'somebody'}"
    why = f": {settled.comment}" if settled.comment else ""
    by = settled.by or "somebody"
    if settled.outcome == "approved":
        by = ", ".join(settled.approved_by) or "somebody"
    if settled.outcome == "expired":
        by = f"nobody of {settled.audience}"
    return f"{settled.outcome} by {by}{edited}{why}"


def _nobody(settled: SettledRequest, clock: Approval) -> str:
    if settled.approved_by:
        count = len(settled.approved_by)
        return f"{count} of {clock.quorum} people of {settled.audience} approved"
    return f"nobody of {settled.audience} answered"

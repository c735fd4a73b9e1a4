"""Steering: checks what people tell a run against its state, and records what is accepted.

`refusal_of…` functions are pure; the workflow calls them from update validators and for signals.
"""

from outlast.contracts import HumanDecision
from workflows.state import Steering

MAX_INBOX = 100
"""Messages that wait for a turn: a person does not type more, and a loop that does is refused."""


def refusal_of_decision(decision: HumanDecision, steering: Steering) -> str | None:
    """Return why a decision cannot be taken, in one sentence, or None."""
    settled = steering.settled.get(decision.request_id)
    if settled is not None:
        same = (settled.decision, settled.by) == (decision.decision, decision.by)
        verdict = "approved" if settled.decision == "approve" else "denied"
        by = f" by {settled.by!r}" if settled.by else ""
        return None if same else f"request {decision.request_id!r} is already {verdict}{by}"
    if decision.request_id in steering.pending:
        return None
    pending = ", ".join(map(repr, steering.pending)) or "none"
    return f"request_id: {decision.request_id!r} is not pending; pending: {pending}"


def settle(decision: HumanDecision, steering: Steering) -> str:
    """Record a decision that was not refused and return a sentence for whoever made it."""
    steering.settled.setdefault(decision.request_id, decision)
    verdict = "approved" if decision.decision == "approve" else "denied"
    return f"{verdict} {decision.request_id}"


def refusal_of_message(steering: Steering) -> str | None:
    """Return why a message cannot be taken, in one sentence, or None."""
    if len(steering.inbox) >= MAX_INBOX:
        return f"{MAX_INBOX} messages already wait for the next turn; wait for it"
    return None

"""Calls that people decide, their approvals, and a record of each call that was made."""

from pydantic import JsonValue
from temporalio import activity

from outlast import Approval, Escalation

HOUR = 3_600

REFUND = Approval(audience="leads", remind_s=1_000, expires_s=HOUR)
WIRE = Approval(
    audience="leads",
    quorum=2,
    escalate=(Escalation(audience="ceo", after_s=HOUR / 2),),
    expires_s=HOUR,
    on_expiry="approve",
)
ASKED: dict[str, JsonValue] = {"order_id": "42", "usd": 80.0}
EDITED: dict[str, JsonValue] = {"order_id": "42", "usd": 9.0}

made: list[tuple[str, str, dict[str, JsonValue]]] = []
"""Workflow id, call id and arguments of every execution of an irreversible call."""


def make(order_id: str, usd: float) -> str:
    """Record a call as made."""
    info = activity.info()
    made.append((info.workflow_id or "", info.activity_id, {"order_id": order_id, "usd": usd}))
    return "ok"

"""The schedule of a human request: when it is reminded of, escalates and expires."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from outlast.contracts.human import Approval, PendingRequest
from outlast.text.safe_text import visible_line
from outlast_workflows.display_text import timer_summary


@dataclass(frozen=True)
class ScheduledStep:
    """What happens to a request at a time; `audience` is the audience from then on."""

    at: datetime
    kind: Literal["remind", "escalate", "expire"]
    audience: str

    def summary(self, request: PendingRequest) -> str:
        """Return the summary of the timer in the UI: the waiting request, and what happens then."""
        if self.kind == "escalate":
            return timer_summary(request, f"escalates to {visible_line(self.audience)}")
        return timer_summary(request, "expires" if self.kind == "expire" else "sends a reminder")


def next_step(request: PendingRequest, approval: Approval) -> ScheduledStep:
    """Return the next step of a request. Of several at one time, expiry comes before escalation."""
    steps = [ScheduledStep(request.expires_at, "expire", request.audience)]
    if request.escalations < len(approval.escalate):
        escalation = approval.escalate[request.escalations]
        at = request.opened_at + timedelta(seconds=escalation.after_s)
        steps.append(ScheduledStep(at, "escalate", escalation.audience))
    if approval.remind_s is not None:
        at = request.opened_at + timedelta(seconds=approval.remind_s) * (request.reminders + 1)
        steps.append(ScheduledStep(at, "remind", request.audience))
    return min(steps, key=lambda step: step.at)


def after_step(request: PendingRequest, step: ScheduledStep) -> PendingRequest:
    """Return the request after a reminder or an escalation."""
    if step.kind == "escalate":
        update = {"audience": step.audience, "escalations": request.escalations + 1}
    else:
        update = {"reminders": request.reminders + 1}
    return request.model_copy(update=update)

"""The clock of a human request: what happens next while nobody has settled it, and when."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from outlast.contracts.human import Approval, PendingRequest


@dataclass(frozen=True)
class Moment:
    """What happens at a time; `audience` is who is asked from then on."""

    at: datetime
    what: Literal["remind", "escalate", "expire"]
    audience: str

    def summary(self, request_id: str) -> str:
        """Return what the UI says of the timer."""
        if self.what == "escalate":
            return f"request {request_id} escalates to {self.audience}"
        return f"request {request_id} " + ("expires" if self.what == "expire" else "is reminded of")


def next_moment(request: PendingRequest, clock: Approval) -> Moment:
    """Return the next moment of a request; of several at once the one that matters most."""
    moments = [Moment(request.expires_at, "expire", request.audience)]
    if request.escalations < len(clock.escalate):
        step = clock.escalate[request.escalations]
        at = request.opened_at + timedelta(seconds=step.after_s)
        moments.append(Moment(at, "escalate", step.audience))
    if clock.remind_s is not None:
        at = request.opened_at + timedelta(seconds=clock.remind_s) * (request.reminders + 1)
        moments.append(Moment(at, "remind", request.audience))
    return min(moments, key=lambda moment: moment.at)


def after(request: PendingRequest, moment: Moment) -> PendingRequest:
    """Return the request as it is once a moment has passed that did not end it."""
    if moment.what == "escalate":
        changed = {"audience": moment.audience, "escalations": request.escalations + 1}
    else:
        changed = {"reminders": request.reminders + 1}
    return request.model_copy(update=changed)

"""Notifying: people are told of a request beside the run, which never waits for it."""

import asyncio
from datetime import timedelta

from outlast_activities.notify import ANYBODY, NotifyActivities
from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError

from outlast.contracts.human import PendingRequest
from outlast.contracts.notices import NotifyInput, Reason
from outlast_workflows.state import RunState
from outlast_workflows.step_failures import cause_of

ATTEMPT = timedelta(minutes=1)
RETRY = RetryPolicy(
    initial_interval=timedelta(seconds=1),
    maximum_interval=timedelta(minutes=1),
    maximum_attempts=8,
)
"""Some two minutes of a channel that is away; a reminder or an escalation comes after it."""

WAIT = timedelta(hours=1)
"""All attempts together, the wait for a worker too."""


class Notifying:
    """Sends the notices of one run."""

    def __init__(self, state: RunState) -> None:
        self._state = state
        self._sending: set[asyncio.Task[None]] = set()
        self._sent: dict[str, int] = {}

    def tell(self, request: PendingRequest, reason: Reason) -> None:
        """Tell the audience of a request on each of its channels, side by side."""
        channels = self._state.agent.channels
        number = self._sent[request.request_id] = self._sent.get(request.request_id, 0) + 1
        for channel in range(channels.get(request.audience, channels.get(ANYBODY, 0))):
            notice = NotifyInput(
                request_id=request.request_id,
                audience=request.audience,
                reason=reason,
                channel=channel,
                number=number,
            )
            task = asyncio.create_task(self._send(notice))
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)

    async def _send(self, notice: NotifyInput) -> None:
        try:
            await workflow.execute_activity_method(
                NotifyActivities.notify,
                notice,
                activity_id=f"{notice.request_id}.notify.{notice.number}.{notice.channel}",
                start_to_close_timeout=ATTEMPT,
                schedule_to_close_timeout=WAIT,
                retry_policy=RETRY,
                summary=f"tells {notice.audience} of {notice.request_id}",
            )
        except ActivityError as error:
            workflow.logger.warning(
                "request.not_told",
                extra={"request_id": notice.request_id, "reason": cause_of(error)},
            )

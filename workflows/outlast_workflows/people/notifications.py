"""Notifications: tell people about a request. The run never waits for them."""

import asyncio
from collections.abc import Mapping
from datetime import timedelta

from outlast_activities.notify import ANY_AUDIENCE
from temporalio import workflow
from temporalio.common import RawValue, RetryPolicy
from temporalio.exceptions import ActivityError

from outlast.contracts.human import PendingRequest
from outlast.contracts.notices import NotifyInput, Reason
from outlast_workflows.display_text import notice_summary
from outlast_workflows.step_failures import cause_of

NOTIFY = "notify"
"""The activity type of a notification. Nobody reads its result."""

ATTEMPT_TIMEOUT = timedelta(minutes=1)
RETRY = RetryPolicy(
    initial_interval=timedelta(seconds=1),
    maximum_interval=timedelta(minutes=1),
    maximum_attempts=8,
)
"""Retries for about two minutes. A later reminder or escalation is sent in any case."""

TOTAL_TIMEOUT = timedelta(hours=1)
"""All attempts together, with the wait for a worker."""


class Notifications:
    """Sends the notices of one run; `channels` counts the channels of each audience."""

    def __init__(self, channels: Mapping[str, int]) -> None:
        self._channels = channels
        self._tasks: set[asyncio.Task[None]] = set()
        self._sent: dict[str, int] = {}

    def send(self, request: PendingRequest, reason: Reason) -> None:
        """Start to notify the audience of a request, on all of its channels at the same time."""
        number = self._sent[request.request_id] = self._sent.get(request.request_id, 0) + 1
        default = self._channels.get(ANY_AUDIENCE, 0)
        for channel in range(self._channels.get(request.audience, default)):
            notice = NotifyInput(
                request_id=request.request_id,
                audience=request.audience,
                reason=reason,
                channel=channel,
                number=number,
            )
            task = asyncio.create_task(_send(notice))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)


async def _send(notice: NotifyInput) -> None:
    try:
        # Everything else of the run goes on meanwhile. This task has no state in common with it.
        await workflow.execute_activity(
            NOTIFY,
            notice,
            result_type=RawValue,
            activity_id=f"{notice.request_id}.notify.{notice.number}.{notice.channel}",
            start_to_close_timeout=ATTEMPT_TIMEOUT,
            schedule_to_close_timeout=TOTAL_TIMEOUT,
            retry_policy=RETRY,
            summary=notice_summary(notice),
        )
    except ActivityError as error:
        workflow.logger.warning(
            "notification.failed",
            extra={"request_id": notice.request_id, "reason": cause_of(error)},
        )

"""The protocol of one activity attempt: heartbeats, hand-back, and counting a step's own attempts.

A worker that shuts down cancels the activities it runs. Temporal counts the next attempt as a retry,
although the step did not fail. Without this protocol, a deployment that scales in often would use up
the attempts of its steps. Model calls and tools follow it through `ActivityAttempt`:

1. **Start.** Read the last heartbeat of the attempt before. Its `handed_back` is the number of earlier
   attempts that a shutdown ended. The attempt's *own* number is Temporal's number minus `handed_back`.
2. **Count.** `left` is the number of own attempts after this one. It is 0 in the last one. It is
   negative if timeouts or lost workers used up the attempts without reporting a failure: the body
   raises a final error.
3. **Heartbeat.** A timer of the event loop sends `progress()` three times in each heartbeat timeout. So the
   server notices a dead worker, and a cancellation reaches the activity. Activities without a heartbeat
   timeout send none. Model calls leave out the first one: most of them end before the second.
4. **Hand back.** If the worker shuts down, and the run did not cancel the activity, send a last
   heartbeat with `handed_back` + 1. Then raise a retryable `WorkerShutdown` failure with a delay of 1
   ms, so that another worker starts at once. Temporal's own backoff would count the hand-backs too. A
   step with effects is not handed back: nobody knows whether its effect happened.
5. **Fail.** On any other exception, send a last heartbeat, so that the next attempt knows the progress.
   Then let the exception pass. The body decides before whether the exception is final.

The retry policy allows a step `max_attempts(own)` attempts: its own plus `HANDED_BACK`.
"""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from types import TracebackType
from typing import Generic, Self, TypeVar

from pydantic import ValidationError
from temporalio import activity

from outlast.agents.leases import Lease
from outlast.contracts.heartbeats import AttemptProgress
from outlast.errors import WorkerShutdown

HAND_BACK_DELAY = timedelta(milliseconds=1)
"""The shortest delay that Temporal takes: without one it would use the backoff of the retry policy."""

BEATS_PER_TIMEOUT = 3


Progress = TypeVar("Progress", bound=AttemptProgress)


class ActivityAttempt(Generic[Progress]):
    """The current attempt of an activity, as an async context manager around its body.

    `own_attempts` is the number of attempts that the step has besides those handed back. `previous` is
    the last heartbeat of the attempt before. `number` is the own number of this attempt, and `left` is
    the number of own attempts after it. The body sets `progress` to a function that returns the current
    progress; `handed_back` is filled in here. `first_beat` is the number of the first
    heartbeat that is sent, of `BEATS_PER_TIMEOUT`.
    """

    def __init__(
        self,
        progress_type: type[Progress],
        *,
        own_attempts: int,
        may_hand_back: bool = True,
        first_beat: int = 1,
    ) -> None:
        previous = _previous_progress(progress_type)
        self.previous = previous
        self.number = activity.info().attempt - previous.handed_back
        self.left = own_attempts - self.number
        self.progress: Callable[[], Progress] = lambda: previous
        self._may_hand_back = may_hand_back
        self._first_beat = first_beat
        timeout = activity.info().heartbeat_timeout
        self.lease = Lease(timeout.total_seconds()) if timeout else None
        self._next_beat: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> Self:
        """Start the heartbeats."""
        timeout = activity.info().heartbeat_timeout
        if timeout:
            interval_s = timeout.total_seconds() / BEATS_PER_TIMEOUT
            self._beat_after(interval_s * self._first_beat, interval_s)
        return self

    async def __aexit__(
        self,
        _type: type[BaseException] | None,
        error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        """Stop the heartbeats. After an error, hand the step back or leave its progress."""
        if self._next_beat is not None:
            self._next_beat.cancel()
        if error is None:
            return
        if self._may_hand_back and _is_shutdown(error):
            self._send_heartbeat(hand_backs=1)
            raise WorkerShutdown(
                "the worker shuts down and hands the step back",
                retryable=True,
                retry_after=HAND_BACK_DELAY,
            ) from None
        self._send_heartbeat()

    def _send_heartbeat(self, *, hand_backs: int = 0) -> None:
        if self.lease is not None:
            self.lease.renew()
        handed_back = self.previous.handed_back + hand_backs
        activity.heartbeat(self.progress().model_copy(update={"handed_back": handed_back}))

    def _beat_after(self, delay_s: float, interval_s: float) -> None:
        """Send a heartbeat after a delay, and then one after each interval.

        A timer and no task: most attempts end before it, and a task would cost each of them a few steps.
        """

        def beat() -> None:
            self._beat_after(interval_s, interval_s)
            self._send_heartbeat()

        self._next_beat = asyncio.get_running_loop().call_later(delay_s, beat)


def was_cancelled_by_run() -> bool:
    """Return whether the run cancelled this activity. A worker that shuts down cancels activities too."""
    details = activity.cancellation_details()
    return details is not None and details.cancel_requested


def waited_s() -> float:
    """Return how many seconds this attempt waited for a worker."""
    info = activity.info()
    return max(0.0, (info.started_time - info.current_attempt_scheduled_time).total_seconds())


def _previous_progress(progress_type: type[Progress]) -> Progress:
    details = activity.info().heartbeat_details
    try:
        return progress_type.model_validate(details[0]) if details else progress_type()
    except ValidationError:
        return progress_type()  # a tool sent a heartbeat of its own


def _is_shutdown(error: BaseException) -> bool:
    """Return whether the shutdown of the worker cancelled the attempt, and nothing else did."""
    details = activity.cancellation_details()
    return (
        isinstance(error, asyncio.CancelledError)
        and details is not None
        and details.worker_shutdown
        and not details.cancel_requested
    )

"""Steps: how an activity is scheduled on a leg, and what it means when it fails there."""

from dataclasses import dataclass
from datetime import timedelta

from outlast_activities.policies.attempts import (
    GENERATE_ATTEMPTS,
    SPILL_ATTEMPTS,
    TOOL_ATTEMPTS,
    most_attempts,
)
from outlast_activities.policies.recovery import is_model_failure, moves_on
from temporalio.common import Priority, RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError, TimeoutError, TimeoutType  # noqa: A004 Temporal's word
from temporalio.workflow import ActivityConfig

from outlast.contracts.agents import Leg, Route, ToolSpec

GENERATE_TIMEOUT = timedelta(minutes=10)
"""One attempt of a model call, its re-asks included."""

HEARTBEAT_TIMEOUT = timedelta(seconds=10)
"""How long a dead worker goes unnoticed. The SDK sends a heartbeat each 8 s of it, and each that reaches
the server is a billable action: shorter costs more, longer makes a killed step wait."""

LAST_LEG_WAIT = timedelta(hours=24)
"""Wait for a worker on the last leg: outlives an outage or a night with the laptop shut, and ends."""

SPILL_WAIT = timedelta(seconds=30)
"""Wait for a worker on a leg that has a next one, where the route names no `start_within_s`."""

SPILL_RETRY = RetryPolicy(
    initial_interval=timedelta(seconds=1),
    maximum_interval=timedelta(seconds=30),
    maximum_attempts=most_attempts(SPILL_ATTEMPTS),
)

LAST_LEG_RETRY = RetryPolicy(
    initial_interval=timedelta(seconds=1),
    maximum_interval=timedelta(seconds=30),
    maximum_attempts=most_attempts(GENERATE_ATTEMPTS),
)
UNREGISTERED_WAIT = timedelta(seconds=30)
UNREGISTERED_TRIES = 40
"""How long, some 20 minutes, a call waits for a worker that knows it, where one without it was started."""


def wait_on(leg: Leg, route: Route) -> timedelta:
    """Return how long a step waits for a worker of a leg before it goes on to the next."""
    if leg.start_within_s is not None:
        return timedelta(seconds=leg.start_within_s)
    return LAST_LEG_WAIT if leg is route.legs[-1] else SPILL_WAIT


def was_not_started(error: ActivityError) -> bool:
    """Tell whether no worker took the step in time."""
    cause = error.cause
    return isinstance(cause, TimeoutError) and cause.type == TimeoutType.SCHEDULE_TO_START


@dataclass(frozen=True)
class Step:
    """How one step is told apart: its activity id, what the UI says of it, and whose turn it takes."""

    activity_id: str
    summary: str
    priority: Priority


def was_not_registered(error: ActivityError) -> bool:
    """Tell whether a worker was handed a call that it does not know: nothing has been done."""
    cause = error.cause
    return (
        isinstance(cause, ApplicationError)
        and cause.type == "NotFoundError"
        and "not registered on this worker" in cause.message
    )


def was_not_served(error: ActivityError) -> bool:
    """Tell whether a model call, which may be made anywhere, may do better on another leg."""
    cause = error.cause
    if isinstance(cause, ApplicationError):
        if cause.type is not None and is_model_failure(cause.type):
            return moves_on(cause.type)
        return not cause.non_retryable
    return isinstance(cause, TimeoutError)


def generate_options(step: Step, leg: Leg, route: Route) -> ActivityConfig:
    """Return how a model call is scheduled on a leg."""
    retry = LAST_LEG_RETRY if leg is route.legs[-1] else SPILL_RETRY
    return _options(step, leg, route, _Bounds(GENERATE_TIMEOUT, retry, HEARTBEAT_TIMEOUT))


def tool_options(tool: ToolSpec, step: Step, leg: Leg, route: Route) -> ActivityConfig:
    """Return how a tool call is scheduled on a leg."""
    timeout = timedelta(seconds=tool.timeout_s)
    heartbeat = HEARTBEAT_TIMEOUT if tool.heartbeats else None
    own = TOOL_ATTEMPTS[tool.effect]
    # A tool of another language's worker counts all attempts as its own.
    attempts = most_attempts(own, effect=tool.effect) if tool.heartbeats else own
    retry = RetryPolicy(
        initial_interval=timedelta(seconds=1),
        maximum_interval=timedelta(seconds=30),
        maximum_attempts=attempts,
    )
    return _options(step, leg, route, _Bounds(timeout, retry, heartbeat))


@dataclass(frozen=True)
class _Bounds:
    attempt: timedelta
    retry: RetryPolicy
    heartbeat: timedelta | None


def _options(step: Step, leg: Leg, route: Route, bounds: _Bounds) -> ActivityConfig:
    wait = wait_on(leg, route)
    retry = bounds.retry
    one_attempt = bounds.attempt + (retry.maximum_interval or timedelta(0)) + wait
    return ActivityConfig(
        task_queue=leg.task_queue,
        schedule_to_start_timeout=wait,
        start_to_close_timeout=bounds.attempt,
        schedule_to_close_timeout=retry.maximum_attempts * one_attempt,
        heartbeat_timeout=bounds.heartbeat,
        retry_policy=retry,
        activity_id=step.activity_id,
        summary=f"{step.summary} · {leg.task_queue}" if len(route.legs) > 1 else step.summary,
        priority=step.priority,
    )

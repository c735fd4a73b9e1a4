"""Options of activities: how a step is scheduled on a leg, and what a failure there means."""

from dataclasses import dataclass
from datetime import timedelta

from outlast_activities.policies.attempts import (
    GENERATE_ATTEMPTS,
    SPILL_ATTEMPTS,
    TOOL_ATTEMPTS,
    max_attempts,
)
from outlast_activities.policies.local_tools import LOCAL_ATTEMPT_S, LOCAL_WAIT_S
from outlast_activities.policies.recovery import is_model_failure, tries_next_leg
from temporalio import workflow
from temporalio.common import Priority, RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError, TimeoutError, TimeoutType  # noqa: A004 Temporal's word
from temporalio.workflow import ActivityConfig, LocalActivityConfig

from outlast.contracts.agents import Leg, Route, ToolSpec

WAIT_CANCELLATION_COMPLETED = workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED

GENERATE_TIMEOUT = timedelta(minutes=10)
"""Timeout of one attempt of a model call, with all its completions."""

HEARTBEAT_TIMEOUT = timedelta(seconds=10)
"""How long a dead worker of a tool stays unnoticed. The SDK sends a heartbeat every 8 s, and each one that
reaches the server is a billable action. A shorter timeout costs more; a longer one delays retries."""

GENERATE_HEARTBEAT_TIMEOUT = timedelta(seconds=7)
"""How long a dead worker of a model call stays unnoticed. Its first heartbeat comes after 4.7 s, which most
calls do not reach, and the next ones every 5.6 s: docs/decisions/0025-model-calls-heartbeat-late.md."""

LAST_LEG_WAIT = timedelta(hours=24)
"""Wait for a worker on the last leg: longer than an outage, or a night with the laptop shut."""

SPILL_WAIT = timedelta(seconds=30)
"""Wait for a worker on a leg that is not the last, if the route has no `start_within_s`."""

SPILL_RETRY = RetryPolicy(
    initial_interval=timedelta(seconds=1),
    maximum_interval=timedelta(seconds=30),
    maximum_attempts=max_attempts(SPILL_ATTEMPTS),
)

LAST_LEG_RETRY = RetryPolicy(
    initial_interval=timedelta(seconds=1),
    maximum_interval=timedelta(seconds=30),
    maximum_attempts=max_attempts(GENERATE_ATTEMPTS),
)
UNREGISTERED_WAIT = timedelta(seconds=30)
UNREGISTERED_TRIES = 40
"""How long a call waits for a worker that knows its tool, if a worker without it took it: 20 minutes."""


def start_timeout_of(leg: Leg, route: Route) -> timedelta:
    """Return how long a step waits for a worker of a leg before it moves on to the next leg."""
    if leg.start_within_s is not None:
        return timedelta(seconds=leg.start_within_s)
    return LAST_LEG_WAIT if leg is route.legs[-1] else SPILL_WAIT


def was_not_started(error: ActivityError) -> bool:
    """Tell whether no worker took the step in time."""
    cause = error.cause
    return isinstance(cause, TimeoutError) and cause.type == TimeoutType.SCHEDULE_TO_START


@dataclass(frozen=True)
class Step:
    """One step: its activity id, its summary in the UI, and its priority."""

    activity_id: str
    summary: str
    priority: Priority


def was_not_registered(error: ActivityError) -> bool:
    """Tell whether a worker took a call of a tool that it does not know. Then the tool did not run."""
    cause = error.cause
    return (
        isinstance(cause, ApplicationError)
        and cause.type == "NotFoundError"
        and "not registered on this worker" in cause.message
    )


def was_not_served(error: ActivityError) -> bool:
    """Tell whether another leg may serve a model call that failed on this one."""
    cause = error.cause
    if isinstance(cause, ApplicationError):
        if cause.type is not None and is_model_failure(cause.type):
            return tries_next_leg(cause.type)
        return not cause.non_retryable
    return isinstance(cause, TimeoutError)


def generate_options(step: Step, leg: Leg, route: Route) -> ActivityConfig:
    """Return how a model call is scheduled on a leg."""
    retry = LAST_LEG_RETRY if leg is route.legs[-1] else SPILL_RETRY
    return _options(step, leg, route, _Bounds(GENERATE_TIMEOUT, retry, GENERATE_HEARTBEAT_TIMEOUT))


def tool_options(tool: ToolSpec, step: Step, leg: Leg, route: Route) -> ActivityConfig:
    """Return how a tool call is scheduled on a leg."""
    timeout = timedelta(seconds=tool.timeout_s)
    heartbeat = HEARTBEAT_TIMEOUT if tool.heartbeats else None
    own_attempts = TOOL_ATTEMPTS[tool.effect]
    # A worker in another language does not tell its own attempts from those of ended workers.
    attempts = max_attempts(own_attempts, effect=tool.effect) if tool.heartbeats else own_attempts
    retry = RetryPolicy(
        initial_interval=timedelta(seconds=1),
        maximum_interval=timedelta(seconds=30),
        maximum_attempts=attempts,
    )
    return _options(step, leg, route, _Bounds(timeout, retry, heartbeat))


def local_options(activity_id: str, summary: str, *, timeout_s: float) -> LocalActivityConfig:
    """Return how a local activity is scheduled: one attempt within seconds."""
    return LocalActivityConfig(
        activity_id=activity_id,
        start_to_close_timeout=timedelta(seconds=min(timeout_s, LOCAL_ATTEMPT_S)),
        schedule_to_start_timeout=timedelta(seconds=LOCAL_WAIT_S),
        retry_policy=RetryPolicy(maximum_attempts=1),
        summary=f"{summary} · local",
    )


@dataclass(frozen=True)
class _Bounds:
    attempt: timedelta
    retry: RetryPolicy
    heartbeat: timedelta | None


def _options(step: Step, leg: Leg, route: Route, bounds: _Bounds) -> ActivityConfig:
    wait = start_timeout_of(leg, route)
    retry = bounds.retry
    attempt_timeout = bounds.attempt + (retry.maximum_interval or timedelta(0)) + wait
    return ActivityConfig(
        task_queue=leg.task_queue,
        schedule_to_start_timeout=wait,
        start_to_close_timeout=bounds.attempt,
        schedule_to_close_timeout=retry.maximum_attempts * attempt_timeout,
        heartbeat_timeout=bounds.heartbeat,
        retry_policy=retry,
        activity_id=step.activity_id,
        summary=f"{step.summary} · {leg.task_queue}" if len(route.legs) > 1 else step.summary,
        priority=step.priority,
    )

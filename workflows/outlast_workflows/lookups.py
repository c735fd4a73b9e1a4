"""Lookups: activities of the role `workflows`, which a run needs before its first turn.

The process that has the run serves them, so the first attempt is a local activity. If it fails in a way
that a retry may repair, an ordinary activity on the task queue of the run follows.
"""

import asyncio
from dataclasses import dataclass
from datetime import timedelta

from outlast_activities.policies.local_tools import LOCAL_ATTEMPT_S
from temporalio import workflow
from temporalio.common import RawValue, RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError, is_cancelled_exception
from temporalio.workflow import ActivityConfig

from outlast.contracts.agents import ResolveInput
from outlast.errors import AgentFailed, BadRequest, NoWorker
from outlast_workflows.activity_options import local_options
from outlast_workflows.calls.local_calls import execute_local, fallback_after
from outlast_workflows.step_failures import cause_of
from outlast_workflows.time_limits import DEADLINE_SUMMARY, are_named, time_limit

LOOKUP_TIMEOUT = timedelta(seconds=30)
LOOKUP_RETRY = RetryPolicy(initial_interval=timedelta(seconds=1), maximum_attempts=5)
LOOKUP_WAIT = timedelta(hours=1)
"""All attempts of a lookup together. The lookup itself takes milliseconds."""

LOCAL_LOOKUP_PATCH = "lookups-are-local"


@dataclass(frozen=True)
class Lookup:
    """The activity type of a lookup, its activity id, and its summary in the UI."""

    activity: str
    activity_id: str
    summary: str


async def look_up(
    lookup: Lookup, value: ResolveInput | None, *, within_s: float | None
) -> RawValue:
    """Return the raw result of a lookup.

    Raises `BadRequest` and `AgentFailed` as the activity does, `NoWorker` if it fails otherwise, and
    `TimeoutError` after `within_s`. Handlers of commands may run meanwhile.
    """
    began = workflow.now()
    try:
        # The local attempt has its own bound. A timer that starts before it and ends after it could not be
        # replayed: the SDK may report a local activity one workflow task later than it replays it.
        # A patch that is first used after a local activity has the same problem.
        if within_s:
            are_named()
        result = await _local_attempt(lookup, value)
        if result is None:
            async with time_limit(_left_s(within_s, workflow.now() - began), DEADLINE_SUMMARY):
                result = await _ordinary_attempts(lookup, value)
    except ActivityError as error:
        if is_cancelled_exception(error):
            raise asyncio.CancelledError from error
        cause = error.cause
        if isinstance(cause, ApplicationError) and cause.type == BadRequest.__name__:
            raise BadRequest(cause.message) from None
        if isinstance(cause, ApplicationError) and cause.type == AgentFailed.__name__:
            raise AgentFailed(cause.message) from None
        what = "the lookup of the agent" if value else "the check of the run's origin"
        raise NoWorker(f"{what} failed: {cause_of(error)}") from None
    return result


async def _local_attempt(lookup: Lookup, value: ResolveInput | None) -> RawValue | None:
    """Return the result of a local attempt, or None if ordinary attempts should follow."""
    if not workflow.patched(LOCAL_LOOKUP_PATCH):
        return None
    options = local_options(lookup.activity_id, lookup.summary, timeout_s=LOCAL_ATTEMPT_S)
    try:
        return await execute_local(lookup.activity, value, options)
    except ActivityError as error:
        if fallback_after(error) is None:
            raise
        return None


async def _ordinary_attempts(lookup: Lookup, value: ResolveInput | None) -> RawValue:
    options = ActivityConfig(
        activity_id=lookup.activity_id,
        start_to_close_timeout=LOOKUP_TIMEOUT,
        schedule_to_close_timeout=LOOKUP_WAIT,
        retry_policy=LOOKUP_RETRY,
        summary=lookup.summary,
    )
    arguments = [] if value is None else [value]
    result: RawValue = await workflow.execute_activity(
        lookup.activity, args=arguments, result_type=RawValue, **options
    )
    return result


def _left_s(within_s: float | None, passed: timedelta) -> float | None:
    return None if within_s is None else max(0.0, within_s - passed.total_seconds())

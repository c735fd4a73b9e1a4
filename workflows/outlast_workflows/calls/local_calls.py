"""Local calls: one attempt of a short call in the process that has the run, before an ordinary activity.

A local activity costs no round trip to the server, and one event instead of six. It is one attempt. If
the attempt fails in a way that a retry may repair, or if no worker makes it, the call runs as an ordinary
activity with all its attempts. The history has the result of each local call, so a replay decides the same.
"""

from dataclasses import dataclass
from datetime import timedelta

from outlast_activities.policies.attempts import FIRST_BACKOFF
from temporalio import workflow
from temporalio.common import RawValue
from temporalio.exceptions import (
    ActivityError,
    ApplicationError,
    FailureError,
    TimeoutError,  # noqa: A004 Temporal's word
    TimeoutType,
)
from temporalio.workflow import LocalActivityConfig

from outlast.contracts.agents import ToolSpec
from outlast.errors import NotLocal, TooSlow
from outlast_workflows.activity_options import local_options, was_not_registered
from outlast_workflows.calls.call_batch import PlannedCall
from outlast_workflows.display_text import call_summary


@dataclass(frozen=True)
class Fallback:
    """How a run goes on after a local call that has no result: with an ordinary activity after `wait`.

    `is_lasting` means that the later calls of the tool in this run are ordinary activities from the start.
    """

    wait: timedelta = timedelta()
    is_lasting: bool = False


def fallback_after(error: ActivityError) -> Fallback | None:
    """Return how a call goes on after its local attempt failed, or None if its error is final."""
    cause = error.cause
    if isinstance(cause, TimeoutError):
        return Fallback(is_lasting=cause.type != TimeoutType.SCHEDULE_TO_START)
    if not isinstance(cause, ApplicationError):
        return None
    if was_not_registered(error) or cause.type == TooSlow.__name__:
        return Fallback(is_lasting=True)
    if cause.type == NotLocal.__name__:
        return Fallback(is_lasting=cause.non_retryable)
    return None if cause.non_retryable else Fallback(wait=cause.next_retry_delay or FIRST_BACKOFF)


async def execute_local(activity: str, argument: object, options: LocalActivityConfig) -> RawValue:
    """Return the raw result of a local activity with one argument, or none.

    Raises `ActivityError` as for an ordinary activity. The SDK raises the cause alone in most cases.
    """
    arguments = [] if argument is None else [argument]
    try:
        result: RawValue = await workflow.execute_local_activity(
            activity, args=arguments, result_type=RawValue, **options
        )
    except ActivityError:
        raise
    except FailureError as error:
        raise ActivityError(
            "a local activity failed",
            scheduled_event_id=0,
            started_event_id=0,
            identity="",
            activity_type=activity,
            activity_id=options.get("activity_id") or "",
            retry_state=None,
        ) from error
    return result


class LocalCalls:
    """Makes the local calls of one run. `not_local` has the tools that are no longer called so."""

    def __init__(self, not_local: list[str]) -> None:
        self._not_local = not_local

    def takes(self, tool: ToolSpec) -> bool:
        """Tell whether the calls of a tool are local."""
        return tool.local and tool.name not in self._not_local

    async def attempt(self, call: PlannedCall) -> RawValue | None:
        """Return the result of a call, or None if it must run as an ordinary activity.

        Raises the `ActivityError` of a call whose error is final, or that was cancelled.
        """
        tool = call.tool
        try:
            # Other calls of the batch run meanwhile. Handlers run when the workflow task has ended.
            options = local_options(call.id, call_summary(call.call), timeout_s=tool.timeout_s)
            return await execute_local(tool.name, call.activity_input, options)
        except ActivityError as error:
            fallback = fallback_after(error)
            if fallback is None:
                raise
        if fallback.is_lasting and tool.name not in self._not_local:
            self._not_local.append(tool.name)
        if fallback.wait:
            await workflow.sleep(fallback.wait, summary=f"{tool.name} is retried")
        return None

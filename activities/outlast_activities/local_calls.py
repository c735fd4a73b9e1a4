"""Local calls in their worker: when it does not make one, and the run schedules an ordinary activity.

A local activity is part of a workflow task. If the process is killed, the server repeats the workflow task
on another worker, without a limit. An ordinary activity counts its attempts. So a worker makes a local call
only in the first attempt of its workflow task: a tool that kills its process kills no second one that way.
"""

from collections.abc import Iterable, Sequence
from datetime import timedelta

from temporalio import activity
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType, TimeoutType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflowservice.v1 import GetWorkflowExecutionHistoryReverseRequest
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError

from outlast.errors import NotLocal
from outlast.temporal.local_attempts import MAY_BE_REPEATED

HISTORY_TIMEOUT = timedelta(seconds=2)
"""How long a worker waits for the newest events of a run: less than `LOCAL_ATTEMPT_S`."""

MAX_NEW_EVENTS = 20
"""Events since the last workflow task that a worker reads. More of them count as a repeated task."""


async def check_local() -> None:
    """Raise `NotLocal` if the current activity is local, and its worker must not run it."""
    if not activity.info().is_local:
        return
    if activity.is_worker_shutdown():
        raise NotLocal("the worker shuts down", retryable=True)
    if MAY_BE_REPEATED.get() and await _is_repeated():
        raise NotLocal("an earlier attempt of this workflow task failed or lost its worker")


async def _is_repeated() -> bool:
    """Return whether the workflow task of this call had an attempt before. No answer counts as yes.

    The server's own number of the attempt does not tell: it is 1 again after the first lost attempt.
    """
    info = activity.info()
    execution = WorkflowExecution(
        workflow_id=info.workflow_id or "", run_id=info.workflow_run_id or ""
    )
    request = GetWorkflowExecutionHistoryReverseRequest(
        namespace=info.namespace, execution=execution, maximum_page_size=MAX_NEW_EVENTS
    )
    try:
        page = await activity.client().workflow_service.get_workflow_execution_history_reverse(
            request, timeout=HISTORY_TIMEOUT
        )
    except RPCError:
        return True
    return has_lost_attempt(page.history.events)


def has_lost_attempt(newest_first: Iterable[HistoryEvent]) -> bool:
    """Return whether an attempt failed or was lost since the last completed workflow task."""
    for event in newest_first:
        timeout = event.workflow_task_timed_out_event_attributes.timeout_type
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED:
            return True
        if timeout == TimeoutType.TIMEOUT_TYPE_START_TO_CLOSE:
            return True
        if event.event_type in _BEGINNINGS:
            return False
    return True


_BEGINNINGS = (
    EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED,
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED,
)


@activity.defn(dynamic=True)
async def unregistered(arguments: Sequence[RawValue]) -> None:
    """Fail an activity of a type that this worker lacks, as the SDK does.

    Without it, the SDK raises an error in the workflow that schedules such a local activity, also while it
    replays one of another worker.
    """
    del arguments
    raise ApplicationError(
        f"Activity function {activity.info().activity_type} is not registered on this worker",
        type="NotFoundError",
    )

"""What the steps of a run wait for: a worker, another attempt, or an agent that the run has called.

The run does not know it: the server does. So it is in the server's description of the run, and in no query.
"""

from datetime import timedelta
from typing import Any, NamedTuple

from temporalio.api.enums.v1 import PendingActivityState
from temporalio.api.failure.v1 import Failure
from temporalio.api.workflow.v1 import PendingActivityInfo
from temporalio.client import WorkflowExecutionDescription, WorkflowHandle
from temporalio.converter import DataConverter
from temporalio.exceptions import ApplicationError

from outlast.errors import OutlastError
from outlast.temporal.server_errors import outlast_errors
from outlast.text.safe_text import shell_word, visible_line

QUIET_BEFORE_STEPS_S = 5.0
"""How long a run has no news before somebody is told what its steps wait for. Most steps take less."""

MAX_SHOWN_STEPS = 10
"""Steps that are named. A run can have many more at the same time, and they wait for the same mostly."""

MAX_FAILURE_BYTES = 200
"""The reason of a failed attempt, as part of one line."""

_DESCRIBE_TIMEOUT = timedelta(seconds=10)


class PendingStep(NamedTuple):
    """What a step waits for, as a line for people, and the id of the run of an agent that it has called."""

    text: str
    called_run: str | None = None


async def pending_steps(handle: WorkflowHandle[Any, Any]) -> list[PendingStep]:
    """Return what the steps of a run wait for; nothing if the server does not describe the run."""
    try:
        with outlast_errors("describe", handle.id):
            return await described_steps(await handle.describe(rpc_timeout=_DESCRIBE_TIMEOUT))
    except OutlastError:
        return []  # the queries of the run have the same reason, and raise it


async def described_steps(description: WorkflowExecutionDescription) -> list[PendingStep]:
    """Return what the steps wait for that the server describes."""
    raw, converter = description.raw_description, description.data_converter
    texts = [await _step_text(each, converter) for each in raw.pending_activities[:MAX_SHOWN_STEPS]]
    steps = [PendingStep(text) for text in texts if text]
    for child in raw.pending_children[:MAX_SHOWN_STEPS]:
        called = child.workflow_id
        text = f"waits for a called agent: outlast watch {shell_word(called)}"
        steps.append(PendingStep(text, called))
    return steps


async def _step_text(step: PendingActivityInfo, converter: DataConverter) -> str:
    """Return what a step waits for, or nothing for a first attempt that a worker executes."""
    name = visible_line(step.activity_type.name)
    if step.paused:
        return (
            f"waits for {name}, which somebody paused:"
            f" `temporal activity unpause --activity-id {shell_word(step.activity_id)}` continues it"
        )
    if step.HasField("last_failure"):
        reason = await _reason(step.last_failure, converter)
        return f"waits for attempt {step.attempt} of {name}; the attempt before failed: {reason}"
    if step.state == PendingActivityState.PENDING_ACTIVITY_STATE_SCHEDULED:
        queue = visible_line(step.activity_options.task_queue.name)
        return f"waits for a worker that takes {name} from the task queue {queue!r}"
    return ""


async def _reason(failure: Failure, converter: DataConverter) -> str:
    error = await converter.decode_failure(failure)
    text = str(error)
    if isinstance(error, ApplicationError):
        text = f"{error.type}: {error.message}" if error.type else error.message
    return visible_line(text, MAX_FAILURE_BYTES)

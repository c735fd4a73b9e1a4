"""The outcome of a run: exceptions that nobody expects as failures, and results that the server accepts."""

from temporalio import workflow
from temporalio.exceptions import FailureError

from outlast.contracts.results import AgentResult
from outlast.errors import Failure, InternalError, RunTooLarge
from outlast.text.texts import cut
from outlast_workflows.state import with_short_comments
from outlast_workflows.step_failures import cause_of

MAX_OUTCOME_BYTES = 1_950_000
"""Size of a result as JSON. The server rejects 2 MB, and the task would be repeated without end."""

MAX_REASON_BYTES = 1_000
"""The text of an unexpected exception, which can hold a whole value."""

BLOCKING = (workflow.NondeterminismError, workflow.ReadOnlyContextError)
"""Exceptions of the SDK that still block the workflow task: the run waits for a build that is right."""


def failure_of(error: Exception) -> Failure:
    """Return an exception as a failure that ends a run or rejects a command.

    An exception that nobody expects would fail the workflow task, which Temporal repeats without end. What
    the SDK raises outside of the workflow's own code still does: then history and code differ, and a run
    must wait for the right build. Cancellation, continue-as-new and eviction are not `Exception`s.
    """
    if isinstance(error, Failure):
        return error
    if isinstance(error, BLOCKING):
        raise error
    reason = cause_of(error) if isinstance(error, FailureError) else _reason(error)
    if not workflow.unsafe.is_replaying():
        workflow.logger.error("run.internal_error", exc_info=error, extra={"reason": reason})
    return InternalError(f"outlast has a bug, or a worker returned what no worker should: {reason}")


def _reason(error: Exception) -> str:
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 an exception that cannot be shown must not block the run either
        text = "it cannot be shown"
    return cut(f"{type(error).__name__}: {text}", MAX_REASON_BYTES)


def carryable(result: AgentResult) -> AgentResult:
    """Return a result that the server accepts: with shorter comments of decisions if that is needed.

    Raises `RunTooLarge` if the result is still too large.
    """
    if _size_of(result) <= MAX_OUTCOME_BYTES:
        return result
    shorter = result.model_copy(update={"decisions": with_short_comments(result.decisions)})
    size = _size_of(shorter)
    if size <= MAX_OUTCOME_BYTES:
        return shorter
    raise RunTooLarge(f"the result has {size:,} bytes; a run can return {MAX_OUTCOME_BYTES:,}")


def _size_of(result: AgentResult) -> int:
    return len(result.model_dump_json().encode())

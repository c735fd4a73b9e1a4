"""Failures of steps: what they mean for the model and for the run."""

import json

from outlast_activities.policies.recovery import is_model_failure
from pydantic import ValidationError
from temporalio.exceptions import (
    ActivityError,
    ApplicationError,
    ChildWorkflowError,
    FailureError,
    TimeoutError,  # noqa: A004 Temporal's word
    TimeoutType,
    is_cancelled_exception,
)

from outlast.contracts.agents import ToolSpec
from outlast.contracts.effects import NOT_BEGUN
from outlast.contracts.generation import Tokens
from outlast.contracts.heartbeats import GenerationProgress
from outlast.contracts.results import FailedRun
from outlast.contracts.usage import Usage
from outlast.errors import (
    BadRequest,
    ConnectionLost,
    Failure,
    HttpCallFailed,
    ModelError,
    ModelFailure,
    NoWorker,
    Retry,
    RunFailed,
    RunTooLarge,
    ToolError,
    ToolFailed,
    TooSlow,
    WorkerShutdown,
)
from outlast.text.json_text import to_json

_SELF_EXPLAINING: tuple[type[Failure], ...] = (
    *(RunFailed, BadRequest, ToolError, Retry, ToolFailed, ModelError, NoWorker, RunTooLarge),
    HttpCallFailed,
)
_TYPES_LEFT_OUT = (*(kind.__name__ for kind in _SELF_EXPLAINING), *ModelFailure, None, "")
"""Types that a message does not begin with, because it explains itself."""

_TIMEOUTS = {
    TimeoutType.START_TO_CLOSE: "an attempt took too long",
    TimeoutType.SCHEDULE_TO_CLOSE: "all attempts together took too long",
    TimeoutType.HEARTBEAT: "its worker was lost",
    TimeoutType.SCHEDULE_TO_START: "no worker took it in time",
}

EXTERNAL_FAILURES = (
    WorkerShutdown.__name__,
    ConnectionLost.__name__,
    "ActivityPause",
    "ActivityReset",
)
"""Types of failures that end an activity from outside: nobody knows whether the call happened."""

MAX_CAUSE = 1_000
"""Characters of a cause, which a person reads in a terminal as one line."""


def cause_of(error: BaseException) -> str:
    """Return the innermost cause of a step's failure in one line."""
    while isinstance(error, ActivityError | ChildWorkflowError) and error.cause is not None:
        error = error.cause
    if isinstance(error, TimeoutError):
        return _TIMEOUTS.get(error.type or TimeoutType.START_TO_CLOSE, "timed out")
    if isinstance(error, ApplicationError):
        prefix = "" if error.type in _TYPES_LEFT_OUT else f"{error.type}: "
        return _one_line(f"{prefix}{error.message}")
    message = error.message if isinstance(error, FailureError) else str(error)
    return _one_line(message)


def model_failure_of(error: BaseException) -> ModelFailure:
    """Return the class of a failed model call, or the nearest one if its worker failed."""
    cause = error.__cause__
    if isinstance(cause, ApplicationError) and cause.type and is_model_failure(cause.type):
        return ModelFailure(cause.type)
    return ModelFailure.TIMEOUT if isinstance(cause, TimeoutError) else ModelFailure.SERVER_ERROR


def tokens_of(error: ActivityError) -> Tokens:
    """Return the tokens that the attempts of a failed model call used, as far as they are known."""
    cause = error.cause
    try:
        if isinstance(cause, ApplicationError) and is_model_failure(cause.type) and cause.details:
            return Tokens.model_validate(cause.details[0])
        if isinstance(cause, TimeoutError) and cause.last_heartbeat_details:
            return GenerationProgress.model_validate(cause.last_heartbeat_details[0]).used
    except (ValidationError, ArithmeticError, RecursionError):
        pass
    return Tokens()


def usage_of(error: BaseException) -> Usage:
    """Return what a failed child has used, as far as it is known."""
    cause = error.cause if isinstance(error, ChildWorkflowError) else None
    try:
        if isinstance(cause, ApplicationError) and cause.details:
            return FailedRun.model_validate(cause.details[0]).usage
    except (ValidationError, ArithmeticError, RecursionError):
        pass
    return Usage()


_FOR_MODEL = frozenset(kind.__name__ for kind in (ToolError, TooSlow, Retry))
"""Types of failures of tools that a model can act on."""


def asks_for_retry(error: ActivityError) -> bool:
    """Tell whether a tool asks the model to try again."""
    return isinstance(error.cause, ApplicationError) and error.cause.type == Retry.__name__


def error_for_model(error: ActivityError, tool: ToolSpec) -> str | None:
    """Return the error that the model reads as the result of a failed call, or None if the run must end.

    A model can act on a tool's own `ToolError` or `Retry`, and on a timeout of a call that changed nothing.
    It cannot act on a bug, or on an effect that may have happened.
    """
    cause = error.cause
    if isinstance(cause, ApplicationError) and cause.type in _FOR_MODEL:
        return _one_line(cause.message)
    if isinstance(cause, TimeoutError) and tool.effect in ("read", "idempotent"):
        return f"{tool.name}: {cause_of(error)} (at most {tool.timeout_s:g} s)"
    return None


def error_result(error: ActivityError, tool: ToolSpec, call_id: str) -> str:
    """Return the JSON text that the model reads about a failed call.

    Raises `ToolFailed` if the run must end.
    """
    message = error_for_model(error, tool)
    if message is None:
        raise ToolFailed(failure_line(error, tool, call_id)) from None
    return to_json({"retry" if asks_for_retry(error) else "error": message})


def error_of_result(content: str) -> str:
    """Return the error of a result that `error_result` wrote, or an empty text for another result."""
    if not content.startswith('{"error":'):
        return ""
    try:
        result = json.loads(content)
    except (ValueError, RecursionError):
        return ""
    error = result["error"]
    return error if isinstance(error, str) and len(result) == 1 else ""


def was_never_begun(error: ActivityError) -> bool:
    """Tell whether a call was cancelled before a worker took it."""
    return is_cancelled_exception(error) and not error.started_event_id


def was_guarded_only(error: ActivityError) -> bool:
    """Tell whether a call ended from outside while the hooks before it ran: the tool did not run."""
    cause = error.cause
    return (
        isinstance(cause, ApplicationError)
        and cause.type == WorkerShutdown.__name__
        and tuple(cause.details) == (NOT_BEGUN,)
    )


def is_unknown(error: ActivityError, tool: ToolSpec) -> bool:
    """Tell whether a call with an effect may have happened although it failed.

    An error that the tool itself raised is a known outcome. Anything else ended the call from outside.
    """
    ended_by_itself = (
        isinstance(error.cause, ApplicationError) and error.cause.type not in EXTERNAL_FAILURES
    )
    return not ended_by_itself and tool.must_end


def failure_line(error: ActivityError, tool: ToolSpec, call_id: str) -> str:
    """Return the line with which a failed call ends a run."""
    unknown = "; it is unknown whether it happened, so it is not repeated"
    outcome = unknown if is_unknown(error, tool) else ""
    return f"{tool.name} (call {call_id}): {cause_of(error)}{outcome}"


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= MAX_CAUSE else f"{line[: MAX_CAUSE - 1]}…"

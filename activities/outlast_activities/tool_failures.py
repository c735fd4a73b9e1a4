"""Exceptions of tools as failures that a history can hold."""

import itertools

from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from outlast.errors import (
    ConnectionLost,
    InputRequired,
    NotLocal,
    Retry,
    ToolError,
    ToolFailed,
    TooSlow,
    WorkerShutdown,
)
from outlast.text.error_text import MAX_GROUP_ERRORS, clean_text, error_text, leaves, type_name

MEANINGFUL_TYPES = frozenset(
    (
        *(kind.__name__ for kind in (ToolError, Retry, ToolFailed, TooSlow, WorkerShutdown)),
        *(kind.__name__ for kind in (ConnectionLost, InputRequired, NotLocal)),
        *("ActivityPause", "ActivityReset"),
    )
)
"""Failure types that a run acts on. Another class of the same name gets its module before its name."""


def as_failure(error: BaseException) -> ApplicationError:
    """Return the exception of a tool as a failure: its type, and its message as text.

    A `ToolError` and a `Retry` are for the model, also as a subclass, or in a group of nothing else.
    """
    members = list(itertools.islice(leaves(error), MAX_GROUP_ERRORS + 1))
    if members and all(isinstance(member, ToolError) for member in members):
        failure: ApplicationError = ToolError("; ".join(map(error_text, members)))
    elif members and all(isinstance(member, Retry) for member in members):
        failure = Retry("; ".join(map(error_text, members)))
    else:
        failure = _failure(error)
    # The cause and the traceback show developers the place; the failure converter bounds them.
    failure.__cause__ = error.__cause__
    return failure.with_traceback(error.__traceback__)


def _failure(error: BaseException) -> ApplicationError:
    text, name = error_text(error), type_name(error)
    if not isinstance(error, ApplicationError):
        if name in MEANINGFUL_TYPES:
            name = f"{type(error).__module__}.{name}"
        return ApplicationError(text, type=name)
    # A subclass whose `__init__` does not call that of its base has none of the attributes.
    state = vars(error)
    return ApplicationError(
        text,
        *state.get("_details", ()),
        type=clean_text(str(state.get("_type") or name)),
        non_retryable=bool(state.get("_non_retryable", isinstance(error, ToolFailed))),
        next_retry_delay=state.get("_next_retry_delay"),
        category=state.get("_category", ApplicationErrorCategory.UNSPECIFIED),
    )

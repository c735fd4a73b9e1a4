"""Every error of outlast.

OutlastError
├── DefinitionError       an agent or a tool cannot be defined as written
├── NotReady              a process lacks something that it needs to start
└── Failure               crosses Temporal as an application failure, with its name as the type
    ├── BadRequest        a person's JSON is wrong; names the field and what is allowed
    ├── ToolError         a tool could not do it; the model reads why and may try otherwise
    ├── ToolFailed        a tool broke in a way that no model can mend; ends the run
    ├── ModelError        a model gave no valid answer; its type says why (`ModelFailure`)
    ├── NoWorker          no leg of a route had a worker in time
    ├── RunTooLarge       a transcript outgrew what the next run of its chain can be given
    └── RunFailed         a run ended in failure; raised by the client and by `run_agent`
"""

from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum
from typing import Any

from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

CONTINUED_AS_NEW = "ContinuedAsNew"
"""The type of a `Failure` that says to ask again: the run goes on as the next one of its chain."""


TOO_MANY_WAIT = "TooManyWait"
"""The type of a `Failure` that says to ask again later."""

TOO_SLOW = "TooSlow"
"""The type of the failure of a tool's attempt that its worker ended, for it took too long."""

WORKER_SHUTDOWN = "WorkerShutdown"
"""The SDK's type of the failure of an activity that the end of its worker cut off."""


class OutlastError(Exception):
    """The base of every error that outlast raises."""


class DefinitionError(OutlastError, ValueError):
    """Raised when an agent or a tool cannot be defined as written."""


class NotReady(OutlastError):
    """Raised when a process cannot start; the message is one line that says what to do."""


class Failure(OutlastError, ApplicationError):
    """The base of errors that cross Temporal: the class's name is the failure's type."""

    category_of_logs = ApplicationErrorCategory.UNSPECIFIED
    """`BENIGN` where the error is somebody's mistake and not a fault of the worker that says so."""

    def __init__(
        self,
        message: str,
        *details: Any,
        kind: str | None = None,
        retryable: bool = False,
        retry_after: timedelta | None = None,
    ) -> None:
        super().__init__(
            message,
            *details,
            type=kind or type(self).__name__,
            non_retryable=not retryable,
            next_retry_delay=retry_after,
            category=type(self).category_of_logs,
        )


class RunFailed(Failure):
    """Raised when a run ended in failure: its cause in one line, its id, and the type of the cause."""

    def __init__(self, message: str, *, run_id: str, cause_type: str = "") -> None:
        super().__init__(message)
        self.run_id = run_id
        self.cause_type = cause_type


class BadRequest(Failure):
    """Raised when a person's JSON is wrong; the message names the field and what is allowed."""

    category_of_logs = ApplicationErrorCategory.BENIGN


class ToolError(Failure):
    """Raised by a tool that could not do what was asked: the model is told why, and may go on.

    It is not retried. Any other exception is retried as the tool's effect allows, and then ends the run.
    """

    category_of_logs = ApplicationErrorCategory.BENIGN

    def __init__(self, message: str) -> None:
        super().__init__(message)


class ToolFailed(Failure):
    """Raised when a tool broke in a way that no model can mend; it ends the run."""


class ModelFailure(StrEnum):
    """What went wrong with a model call. An adapter decides it, once; it is the error's type."""

    TRUNCATED = "ModelTruncated"
    """The answer was cut off at its most tokens."""
    WHITESPACE_LOOP = "ModelWhitespaceLoop"
    """The answer was nothing but white space for too long, which a JSON Schema admits."""
    REPETITION_LOOP = "ModelRepetitionLoop"
    """The answer repeated itself."""
    SCHEMA_INVALID = "ModelSchemaInvalid"
    """The answer is JSON that breaks the schema: a keyword that the engine does not enforce."""
    UNCONSTRAINED = "ModelUnconstrained"
    """The answer is not JSON at all: the server ignored the constraint."""
    REFUSAL = "ModelRefusal"
    """The model, or a filter before it, will not answer."""
    EMPTY = "ModelEmpty"
    """The answer has no text."""
    CONTEXT_OVERFLOW = "ModelContextOverflow"
    """The prompt and the answer do not fit in the model's context."""
    THROTTLED = "ModelThrottled"
    """The server takes no more of this client's requests for now."""
    OVERLOADED = "ModelOverloaded"
    """The server takes nobody's requests for now."""
    TIMEOUT = "ModelTimeout"
    """No token came in time."""
    CONNECTION = "ModelConnection"
    """The server cannot be reached, or hung up in the middle of an answer."""
    AUTHENTICATION = "ModelAuthentication"
    """The key is wrong, lacks a right, or its account has no credit."""
    UNKNOWN_MODEL = "ModelUnknown"
    """The server has no such model, or it is no model server."""
    BAD_REQUEST = "ModelBadRequest"
    """The server does not take the request as it is: the schema, for one."""
    SERVER_ERROR = "ModelServerError"
    """The server failed for a reason of its own."""


class ModelError(Failure):
    """Raised when a model gave no valid answer; `kind` says why, and is the error's type.

    `tokens` is what it cost all the same (`prompt_tokens`, `completion_tokens`,
    `cached_prompt_tokens`), and crosses as the error's first detail. `text` is the wrong answer as far
    as it came, and does not cross.
    """

    def __init__(
        self,
        message: str,
        *,
        kind: ModelFailure,
        retryable: bool = False,
        retry_after: timedelta | None = None,
        tokens: Mapping[str, int] | None = None,
        text: str = "",
    ) -> None:
        details = [dict(tokens)] if tokens else []
        super().__init__(message, *details, kind=kind, retryable=retryable, retry_after=retry_after)
        self.kind = kind
        self.retry_after = retry_after
        self.tokens = dict(tokens or {})
        self.text = text


class NoWorker(Failure):
    """Raised when no leg of a route had a worker within its `start_within_s`."""


class RunTooLarge(Failure):
    """Raised when a transcript outgrew what the next run of its chain can be given."""

"""Every error of outlast.

OutlastError
├── DefinitionError       an agent or a tool cannot be defined as written
├── NotReady              a process lacks something that it needs to start
└── Failure               crosses Temporal as an application failure, with its name as the type
    ├── BadRequest        a person's JSON is wrong; names the field and what is allowed
    ├── ToolError         a tool could not do it; the model reads why and may try otherwise
    ├── ToolFailed        a tool broke in a way that no model can mend; ends the run
    ├── ModelError        a model server could not answer; retryable or terminal
    ├── NoWorker          no leg of a route had a worker in time
    ├── RunTooLarge       a transcript outgrew what the next run of its chain can be given
    └── RunFailed         a run ended in failure; raised by the client and by `run_agent`
"""

from datetime import timedelta

from temporalio.exceptions import ApplicationError, ApplicationErrorCategory


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
        *,
        retryable: bool = False,
        retry_after: timedelta | None = None,
    ) -> None:
        super().__init__(
            message,
            type=type(self).__name__,
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


class ModelError(Failure):
    """Raised by a model adapter: `retryable` errors are asked again, after `retry_after` if given."""


class NoWorker(Failure):
    """Raised when no leg of a route had a worker within its `start_within_s`."""


class RunTooLarge(Failure):
    """Raised when a transcript outgrew what the next run of its chain can be given."""

"""Every error of outlast.

OutlastError
├── DefinitionError       an agent or a tool is defined wrongly
├── NotReady              a process cannot start, because it lacks something
├── Unavailable           the server or a worker does not answer the client; repeat the call later
│   └── NoAnswer          `reply` or `chat` had no answer in time; also a `TimeoutError`
└── Failure               crosses Temporal as an application failure; its type is the class name
    ├── BadRequest        JSON that a person wrote is invalid
    │   └── RunNotFound   there is no run with this id, or it has ended
    ├── ToolError         a tool rejects a call; the model reads the reason and continues
    ├── Retry             a tool or a check rejects what the model did; the model reads why and tries again
    ├── ToolFailed        a tool is broken; the run fails
    ├── AgentFailed       instructions or a check of an agent are broken; the run fails
    ├── AnswerRejected    the checks of an agent rejected too many answers in a row
    ├── AttemptLost       a frozen worker goes on with a call that another one may make
    ├── TooSlow           an attempt of a tool exceeded its timeout
    ├── WorkerShutdown    a worker stops, and returns an activity for another worker
    ├── NotLocal          a worker does not run a local activity; the run schedules an ordinary one
    ├── ModelError        a model call failed; the type is its `ModelFailure`
    ├── NoWorker          no leg of a route had a worker in time
    ├── RunTooLarge       a transcript is too large to continue in a new run
    ├── ConnectionLost    a connection to an MCP server or an HTTP API ended during a call
    ├── InputRequired     an MCP server asks for input before a call; the run asks a person
    ├── HttpCallFailed    an HTTP call of a pipeline failed; a `try` of the pipeline may catch it
    ├── PipelineFailed    a task of a pipeline failed, and no `try` caught its error
    ├── InternalError     a bug of outlast; the run fails instead of waiting for a repair
    ├── ContinuedAsNew    the run continues in a new Temporal run; repeat the call
    ├── TooManyWait       too many callers wait for the same answer; repeat the call later
    ├── RunFailed         a run failed; raised by the client and by `run_agent`
    ├── RunStopped        somebody reads the output of a run that stopped before it answered
    └── OutputMismatch    the answer of a run is not a value of the type that the caller expects
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from enum import StrEnum
from typing import Any

from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from outlast.text.error_text import clean_text


class OutlastError(Exception):
    """The base of every error that outlast raises."""


class DefinitionError(OutlastError, ValueError):
    """Raised when an agent, a tool or one of their types is defined wrongly."""


class NotReady(OutlastError):
    """Raised when a process cannot start. The message is one line and names the remedy."""


class Unavailable(OutlastError):
    """Raised by the client if the Temporal server or a worker does not answer: repeat the call later."""


class NoAnswer(Unavailable, TimeoutError):
    """Raised by `reply` and `chat` if there is no answer in time.

    `waiting` is what the run waits for: entries of the role `waiting`, as in `Run.stream`. It is empty if
    the agent is still at work.
    """

    def __init__(self, message: str, *, waiting: Sequence[Any] = ()) -> None:
        super().__init__(message)
        self.waiting = tuple(waiting)


class Failure(OutlastError, ApplicationError):
    """The base of errors that cross Temporal. The failure type is the class name, or `kind`."""

    category_of_logs = ApplicationErrorCategory.UNSPECIFIED
    """`BENIGN` for a mistake of a user: the worker then logs it at debug level."""

    def __init__(
        self,
        message: str,
        *details: Any,
        kind: str | None = None,
        retryable: bool = False,
        retry_after: timedelta | None = None,
    ) -> None:
        super().__init__(
            clean_text(str(message)),  # half of a surrogate pair cannot be sent
            *details,
            type=kind or type(self).__name__,
            non_retryable=not retryable,
            next_retry_delay=retry_after,
            category=type(self).category_of_logs,
        )

    def __str__(self) -> str:
        """Return the message. The SDK's own text repeats the name of the class before it."""
        # A subclass of a user may skip `__init__`, and then it has no message of its own.
        return str(vars(self).get("_message", ", ".join(map(str, self.args))))


class RunFailed(Failure):
    """Raised when a run failed: the cause in one line, with the workflow id and the type of the cause."""

    def __init__(self, message: str, *, run_id: str, cause_type: str = "") -> None:
        super().__init__(message)
        self.run_id = run_id
        self.cause_type = cause_type


class RunStopped(Failure):
    """Raised by `AgentResult.output` if the run stopped before it answered."""


class OutputMismatch(Failure):
    """Raised if the answer of a run is not a value of the caller's output type.

    The caller and the worker then have different versions of the agent.
    """


class BadRequest(Failure):
    """Raised when JSON that a person wrote is invalid. The message names the field and valid values."""

    category_of_logs = ApplicationErrorCategory.BENIGN


class RunNotFound(BadRequest):
    """Raised by the client if there is no run with this id, or if the run has ended."""


class ToolError(Failure):
    """Raised by a tool to reject a call. The model reads the message and the run continues.

    It is not retried. Any other exception is retried if the effect of the tool allows a retry, and then
    fails the run.
    """

    category_of_logs = ApplicationErrorCategory.BENIGN

    def __init__(self, message: str) -> None:
        super().__init__(message)


class Retry(Failure):
    """Raised by a tool or an `@agent.check` function: the model reads the reason, and tries again.

    A run fails after three such calls of one tool, or three such answers, in a row. Raise `ToolError` for a
    call that the model cannot improve.
    """

    category_of_logs = ApplicationErrorCategory.BENIGN

    def __init__(self, message: str) -> None:
        super().__init__(message)


class AgentFailed(Failure):
    """Raised when code of an agent is broken: its instructions, or a check. It fails the run."""


class AnswerRejected(Failure):
    """Raised when the checks of an agent rejected too many answers in a row. It fails the run."""


class ToolFailed(Failure):
    """Raised when a tool is broken in a way that a model cannot correct. It fails the run."""


class ModelFailure(StrEnum):
    """Why a model call failed. The adapter of the model server decides; it is the failure type."""

    TRUNCATED = "ModelTruncated"
    """The answer reached its token limit."""
    WHITESPACE_LOOP = "ModelWhitespaceLoop"
    """The answer was only white space for too long, which JSON allows between values."""
    REPETITION_LOOP = "ModelRepetitionLoop"
    """The answer repeated itself."""
    SCHEMA_INVALID = "ModelSchemaInvalid"
    """The answer is JSON that does not match the schema: the engine does not enforce each keyword."""
    UNCONSTRAINED = "ModelUnconstrained"
    """The answer is not JSON: the server ignored the schema."""
    REFUSAL = "ModelRefusal"
    """The model, or a content filter, refused to answer."""
    EMPTY = "ModelEmpty"
    """The answer is empty."""
    CONTEXT_OVERFLOW = "ModelContextOverflow"
    """The prompt and the answer do not fit in the context of the model."""
    THROTTLED = "ModelThrottled"
    """The server limits the rate of requests of this client."""
    OVERLOADED = "ModelOverloaded"
    """The server rejects all requests for now."""
    TIMEOUT = "ModelTimeout"
    """No token arrived in time."""
    CONNECTION = "ModelConnection"
    """The server is unreachable, or closed the connection during an answer."""
    AUTHENTICATION = "ModelAuthentication"
    """The API key is wrong, lacks a permission, or has no credit."""
    UNKNOWN_MODEL = "ModelUnknown"
    """The server does not know the model, or is not a model server."""
    BAD_REQUEST = "ModelBadRequest"
    """The server rejects the request, for example its schema."""
    SERVER_ERROR = "ModelServerError"
    """The server had an internal error."""


class ModelError(Failure):
    """Raised when a model call failed. `kind` is the reason and the failure type.

    `tokens` are the tokens that the call used (`prompt_tokens`, `completion_tokens`,
    `cached_prompt_tokens`), and cross Temporal as the first detail. `text` is the invalid answer, and
    does not cross Temporal.
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
    """Raised when a transcript is too large for the input of the next run of its chain."""


class PipelineFailed(Failure):
    """Raised when a pipeline ends with an error. The first detail is the error, as the DSL defines it."""


class HttpCallFailed(Failure):
    """Raised when an HTTP call of a pipeline failed.

    The first detail has the `type` and `status` of the error that the pipeline sees.
    """

    category_of_logs = ApplicationErrorCategory.BENIGN


class InternalError(Failure):
    """Raised when an unexpected exception ends a run: a bug of outlast, or of a worker's answer."""


class AttemptLost(Failure):
    """Raised in a tool whose attempt the server has given up, because its worker was frozen.

    Let it pass: nothing more may be changed. The server ignores how such an attempt ends.
    """


class TooSlow(Failure):
    """Raised when a worker ends an attempt of a tool that exceeded its timeout."""


class InputRequired(Failure):
    """Raised when an MCP server asks for input before it makes a call. The run asks a person.

    The first detail has `state`, which goes back to the server, and `forms`: the `key`, `message` and JSON
    Schema (`answer_schema`) of each question.
    """


class ConnectionLost(Failure):
    """Raised when the connection to an MCP server or an HTTP API ended during a call.

    A worker also raises it for a call with an effect whose attempts were cut off. The call may have
    happened.
    """


class WorkerShutdown(Failure):
    """Raised when a worker stops during an activity, so that another worker retries it at once.

    The Temporal SDK gives the same type to an activity that a stopping worker cancels.
    """


class NotLocal(Failure):
    """Raised when a worker does not run a local activity, so that the run schedules an ordinary one.

    If it is final, the later calls of the tool in the run are ordinary activities too.
    """


class ContinuedAsNew(Failure):
    """Raised when the run continues in a new Temporal run before it answers: repeat the call."""


class TooManyWait(Failure):
    """Raised when too many callers wait for the answer of one run: repeat the call later."""

"""Errors of the Temporal SDK as errors of outlast: one line that says what happened and what to do."""

import asyncio
import re
from collections.abc import Iterator
from contextlib import contextmanager

from temporalio.client import (
    WorkflowQueryFailedError,
    WorkflowQueryRejectedError,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from outlast.errors import BadRequest, NotReady, OutlastError, RunNotFound, Unavailable
from outlast.temporal.connection import MAX_REASON_BYTES
from outlast.temporal.payload_codec import CODEC_VARIABLE
from outlast.temporal.payload_store import STORE_VARIABLE
from outlast.temporal.updates import is_lost
from outlast.text.texts import cut

_INVALID = (
    *(RPCStatusCode.INVALID_ARGUMENT, RPCStatusCode.FAILED_PRECONDITION),
    *(RPCStatusCode.OUT_OF_RANGE, RPCStatusCode.ALREADY_EXISTS),
)
_AWAY = (RPCStatusCode.UNAVAILABLE, RPCStatusCode.DEADLINE_EXCEEDED, RPCStatusCode.CANCELLED)

NO_STORAGE = "TMPRL1105"
"""The code of the SDK for a payload in a store that this client does not have."""

_RETRY = "repeat the call later"
_FAILED = ("failed", "look at its log, then repeat the call")
_REJECTED = ("rejects the credentials", "check TEMPORAL_API_KEY and the TLS settings")
_SILENT = ("does not answer", "check the server and TEMPORAL_ADDRESS, then repeat the call")
_REMEDIES = {
    RPCStatusCode.PERMISSION_DENIED: _REJECTED,
    RPCStatusCode.UNAUTHENTICATED: _REJECTED,
    RPCStatusCode.RESOURCE_EXHAUSTED: ("is busy", _RETRY),
    RPCStatusCode.ABORTED: ("gave up the call", _RETRY),
    **dict.fromkeys(_AWAY, _SILENT),
}

UNKNOWN_ENCODING = "Unknown payload encoding"
"""How the SDK's `KeyError` begins for a payload that only a codec can decode."""

_QUERIES = ("progress", "pending_requests", "transcript")


_NO_HANDLER = re.compile(
    r"(?:Query|Update) handler for '(?P<name>[^']*)' expected but not found"
    r".*known (?:queries|updates): \[(?P<known>[^\]]*)\]",
    re.DOTALL,
)
"""What the SDK says of a query or an update that a workflow does not have."""


class QueryRejected(Unavailable):
    """Raised if a worker rejects a query: the run is not open yet, or ended before it was."""


class UnknownHandler(BadRequest):
    """Raised if a workflow does not have the query or the update: it is not an agent."""


@contextmanager
def outlast_errors(call: str, run_id: str = "") -> Iterator[None]:
    """Raise an `OutlastError` in place of an error of the SDK; `call` names the method."""
    try:
        yield
    except RPCError as error:
        raise _server_error(error, call, run_id) from None
    except WorkflowUpdateFailedError as error:
        if is_lost(error):
            raise Unavailable(f"{call}: the worker lost the update: repeat the call") from None
        raise _unknown_handler(message_of(error), call, run_id) or BadRequest(
            " ".join(message_of(error).split())
        ) from None
    except WorkflowQueryFailedError as error:
        unknown = _unknown_handler(error.message, call, run_id)
        if unknown is not None:
            raise unknown from None
        reason = cut(error.message, MAX_REASON_BYTES)
        raise QueryRejected(f"the run {run_id!r} cannot be queried: {reason}") from None
    except WorkflowQueryRejectedError as error:
        raise BadRequest(f"{call}: the server rejects the query: {error}") from None
    except WorkflowUpdateRPCTimeoutOrCancelledError:
        raise _cancellation_or_timeout(call, run_id) from None
    except (KeyError, RuntimeError) as error:
        unreadable = _unreadable(error, call, run_id)
        if unreadable is None:
            raise
        raise unreadable from None


def _unreadable(error: Exception, call: str, run_id: str) -> NotReady | None:
    """Return the error for payloads that this client cannot decode, or None for another reason."""
    what = f"{call}: this client cannot read the run {run_id!r}"
    if isinstance(error, RuntimeError) and NO_STORAGE in str(error):
        return NotReady(
            f"{what}: its payloads are in a store: set {STORE_VARIABLE} to that of the workers"
        )
    if isinstance(error, KeyError) and UNKNOWN_ENCODING in str(error):
        return NotReady(
            f"{what} ({error.args[0]}): set {CODEC_VARIABLE} to the payload codec of the workers"
        )
    return None


def _unknown_handler(reason: str, call: str, run_id: str) -> UnknownHandler | None:
    """Return the error for a query or an update that the workflow does not have, or None."""
    match = _NO_HANDLER.search(reason)
    if match is None:
        return None
    known = ", ".join(name for name in match["known"].split() if not name.startswith("__"))
    run = f"the run {run_id!r}" if run_id else "the run"
    return UnknownHandler(
        f"{call}: {run} is not an agent, and does not take {match['name']!r};"
        f" it takes {cut(known, MAX_REASON_BYTES) or 'nothing'}",
        kind=BadRequest.__name__,
    )


def _server_error(error: RPCError, call: str, run_id: str) -> OutlastError:
    reason = cut(error.message.rstrip("."), MAX_REASON_BYTES) or error.status.name
    if error.status is RPCStatusCode.NOT_FOUND:
        return _not_found(reason, call, run_id)
    is_busy = error.status is RPCStatusCode.RESOURCE_EXHAUSTED  # ten updates of a run in flight
    if "updates" in reason and "limit" in reason and not is_busy:
        return BadRequest(
            f"{call}: the run {run_id!r} has as many updates as the server allows ({reason}): "
            f"send {call!r} as a signal instead (temporal workflow signal --name {call})"
        )
    if error.status is RPCStatusCode.FAILED_PRECONDITION and "workflow task" in reason.lower():
        return Unavailable(
            f"{call}: the run cannot go on for now ({reason}): check its workers, then repeat"
            " the call"
        )
    has_no_worker = "no poller" in reason  # the server's words for a queue without workers
    if error.status in _INVALID and not has_no_worker:
        return BadRequest(f"{call}: the Temporal server rejects the request: {reason}")
    is_query = call in _QUERIES and (error.status in _AWAY or has_no_worker)
    if is_query and (error.status is not RPCStatusCode.UNAVAILABLE or "worker" in reason):
        return Unavailable(
            f"no worker answers for the run {run_id!r}: is one running that serves its task queue?"
        )
    what, remedy = _REMEDIES.get(error.status, _FAILED)
    return Unavailable(f"{call}: the Temporal server {what} ({reason}): {remedy}")


def _not_found(reason: str, call: str, run_id: str) -> OutlastError:
    if not run_id:
        return Unavailable(f"{call}: {reason}: check TEMPORAL_NAMESPACE")
    if reason.startswith("update "):
        return Unavailable(f"{call}: the server lost the update ({reason}): repeat the call")
    if "namespace" in reason.lower():
        return RunNotFound(f"there is no run {run_id!r}: {reason}; check TEMPORAL_NAMESPACE")
    if call in (*_QUERIES, "result", "watch"):
        return RunNotFound(f"there is no run {run_id!r}; check the id and the namespace")
    return RunNotFound(f"the run {run_id!r} has ended, or does not exist")


def _cancellation_or_timeout(call: str, run_id: str) -> BaseException:
    """Tell two causes of one SDK error apart: this task was cancelled, or the server timed out."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        return asyncio.CancelledError()
    return Unavailable(
        f"{call}: the run {run_id!r} did not answer in time, and the outcome is unknown: check the server "
        "and the workers, then repeat the call"
    )


def type_of(error: WorkflowUpdateFailedError) -> str | None:
    """Return the failure type of a rejected update."""
    return error.cause.type if isinstance(error.cause, ApplicationError) else None


def message_of(error: WorkflowUpdateFailedError) -> str:
    """Return the reason of a rejected update."""
    return error.cause.message if isinstance(error.cause, ApplicationError) else str(error.cause)

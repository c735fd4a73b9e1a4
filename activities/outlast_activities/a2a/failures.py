"""Failed calls of agents, as the errors of the DSL that a pipeline may catch."""

from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus

from pydantic import JsonValue, ValidationError

from outlast.contracts.http_calls import HttpProblem, call_failed
from outlast.errors import HttpCallFailed
from outlast.pipelines.errors import AUTHENTICATION, AUTHORIZATION, COMMUNICATION, RUNTIME
from outlast.text.texts import cut

MAX_MESSAGE_BYTES = 1_000
"""Bytes of the message of an agent's error."""

_TYPES: dict[int, str] = {
    HTTPStatus.UNAUTHORIZED: AUTHENTICATION,
    HTTPStatus.FORBIDDEN: AUTHORIZATION,
}

_STATUSES = {
    -32700: HTTPStatus.BAD_REQUEST,
    -32600: HTTPStatus.BAD_REQUEST,
    -32601: HTTPStatus.NOT_IMPLEMENTED,
    -32602: HTTPStatus.BAD_REQUEST,
    -32001: HTTPStatus.NOT_FOUND,
    -32002: HTTPStatus.CONFLICT,
    -32004: HTTPStatus.BAD_REQUEST,
    -32005: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    -32009: HTTPStatus.BAD_REQUEST,
}
"""The status of HTTP for each code of JSON-RPC. Source: A2A 1.0, section 5.4."""


def unreadable(reason: str) -> HttpCallFailed:
    """Return the failure of a call whose answer is not one of the protocol."""
    return call_failed(f"the agent {reason}", COMMUNICATION, HTTPStatus.BAD_GATEWAY)


def agent_error(error: JsonValue) -> HttpCallFailed:
    """Return the failure for an error of JSON-RPC. Its type is the one that the DSL demands."""
    fields = error if isinstance(error, dict) else {}
    code = fields.get("code")
    status = HTTPStatus.INTERNAL_SERVER_ERROR
    if isinstance(code, int):
        status = _STATUSES.get(code, status)
    message = cut(str(fields.get("message", "")), MAX_MESSAGE_BYTES)
    return call_failed(f"the agent returned the error {code!r}: {message}", RUNTIME, status)


@contextmanager
def named_by_status() -> Iterator[None]:
    """Give a status that rejects credentials the type that the DSL has for it."""
    try:
        yield
    except HttpCallFailed as error:
        try:
            problem = HttpProblem.model_validate(error.details[0] if error.details else None)
        except ValidationError:
            raise error from None
        kind = _TYPES.get(problem.status) if problem.type == COMMUNICATION else None
        if kind is None:
            raise
        raise call_failed(str(error.message), kind, problem.status) from None

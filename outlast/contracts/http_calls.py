"""HTTP calls of pipelines, as a workflow sends them to a worker."""

from typing import Literal

from pydantic import JsonValue

from outlast.contracts.base import WireModel
from outlast.contracts.effects import Effect
from outlast.errors import HttpCallFailed

CALL_TIMEOUT_S = 60.0
"""Seconds of one attempt of an HTTP call of a pipeline."""

HttpOutput = Literal["content", "response", "raw"]
"""What an HTTP call returns: the content, the whole response, or the content in base64."""

HTTP_EFFECTS: dict[str, Effect] = {
    "GET": "read",
    "HEAD": "read",
    "OPTIONS": "read",
    "PUT": "idempotent",
    "DELETE": "idempotent",
    "POST": "write",
    "PATCH": "write",
}
"""The effect of each method of HTTP (RFC 9110, section 9.2), which decides whether a call is retried."""


class HttpAuthentication(WireModel):
    """The credentials of a call: a scheme, and the name of a secret in the settings of the workers."""

    scheme: Literal["Basic", "Bearer"]
    secret: str


class HttpCallRequest(WireModel):
    """The argument of the activities `call_http_…`: a request by its parts, or an operation of OpenAPI."""

    method: str = "GET"
    url: str
    """For an operation of OpenAPI, the URL of its document."""
    headers: dict[str, JsonValue] = {}
    query: dict[str, JsonValue] = {}
    body: JsonValue = None
    """JSON. Null sends no body."""
    authentication: HttpAuthentication | None = None
    output: HttpOutput = "content"
    redirect: bool = False
    """Whether redirects are followed within the server, and other answers 3xx are no errors."""
    operation: dict[str, JsonValue] | None = None
    """An operation, as `find_openapi_operation` returns it."""
    arguments: dict[str, JsonValue] = {}
    """The arguments of the operation."""


class OpenApiQuery(WireModel):
    """The argument of the activity `find_openapi_operation`."""

    url: str
    operation_id: str


class FoundOperation(WireModel):
    """The result of `find_openapi_operation`."""

    effect: Effect
    operation: dict[str, JsonValue]


class HttpProblem(WireModel):
    """The first detail of a `HttpCallFailed`: what a `try` of a pipeline may catch."""

    type: str
    status: int


def call_failed(text: str, kind: str, status: int) -> HttpCallFailed:
    """Return the failure of a call with the type and the status that the pipeline sees."""
    return HttpCallFailed(text, HttpProblem(type=kind, status=status).model_dump())


def call_activity(effect: Effect) -> str:
    """Return the type of the activity that makes HTTP calls of an effect."""
    return f"call_http_{effect}"


def agent_activity(effect: Effect) -> str:
    """Return the type of the activity that calls A2A agents with an effect."""
    return f"call_a2a_{effect}"

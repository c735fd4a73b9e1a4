"""Errors of A2A as errors of JSON-RPC. Source: A2A 1.0, sections 5.4 and 9.5."""

from http import HTTPStatus
from typing import Any

from starlette.exceptions import HTTPException

from outlast.errors import BadRequest, OutlastError, RunNotFound

DOMAIN = "a2a-protocol.org"


class A2aError(OutlastError):
    """Raised for an error of the protocol: its code in JSON-RPC, and its reason."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason


def invalid_params(message: str) -> A2aError:
    """Return the error for parameters that cannot be used."""
    return A2aError(-32602, "INVALID_PARAMS", message)


def unsupported(message: str) -> A2aError:
    """Return the error for an operation that a task or this gateway does not have."""
    return A2aError(-32004, "UNSUPPORTED_OPERATION", message)


def protocol_error(error: OutlastError | HTTPException) -> A2aError:
    """Return any error of the gateway as one of the protocol."""
    if isinstance(error, A2aError):
        return error
    if isinstance(error, HTTPException):
        if error.detail.startswith("the body is not JSON ("):
            return A2aError(-32700, "PARSE_ERROR", error.detail)
        return A2aError(-32600, "INVALID_REQUEST", error.detail)
    if isinstance(error, RunNotFound):
        return A2aError(-32001, "TASK_NOT_FOUND", str(error))
    if isinstance(error, BadRequest):
        return invalid_params(str(error))
    return A2aError(-32603, "INTERNAL_ERROR", str(error))


def error_json(identifier: Any, error: OutlastError | HTTPException) -> dict[str, Any]:
    """Return the response of JSON-RPC for an error."""
    known = protocol_error(error)
    info = {
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": known.reason,
        "domain": DOMAIN,
    }
    fields = {"code": known.code, "message": str(known), "data": [info]}
    return {"jsonrpc": "2.0", "id": identifier, "error": fields}


def is_of_http(error: HTTPException) -> bool:
    """Return whether an error concerns HTTP alone."""
    return error.status_code in {
        HTTPStatus.UNAUTHORIZED,
        HTTPStatus.FORBIDDEN,
        HTTPStatus.SERVICE_UNAVAILABLE,
    }

"""The requests of HTTP calls, from the parts that a pipeline gives."""

import base64
import re
from collections.abc import Mapping
from urllib.parse import quote, urlencode

from pydantic import JsonValue, TypeAdapter

from outlast.agents.openapi.inputs import FORBIDDEN_HEADERS
from outlast.agents.openapi.operations import Operation
from outlast.contracts.http_calls import HttpCallRequest
from outlast.text.json_text import to_json
from outlast.text.texts import cut
from outlast_activities.http_calls.allowlist import origin_of_url
from outlast_activities.openapi.requests import (
    HttpRequest,
    check_sizes,
    http_request,
    key_text,
    scalar_text,
)

KEY_HEADER = "idempotency-key"
"""The header with the idempotency key of a call that changes something."""

_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_CREDENTIAL_HEADERS = ("authorization", "proxy-authorization", "cookie")
_FORM = "application/x-www-form-urlencoded"
_OPERATION: TypeAdapter[Operation] = TypeAdapter(Operation)
_SHOWN_BYTES = 60


class InvalidCall(ValueError):
    """Raised for parts that make no request."""


def request_of(
    call: HttpCallRequest, *, credentials: str | None, idempotency_key: str
) -> HttpRequest:
    """Return the request of a call. `credentials` are those of its scheme, such as `user:password`.

    Raises `InvalidCall`, or `ToolError` for arguments that do not fit an operation.
    """
    if call.operation is not None:
        operation = _OPERATION.validate_python(call.operation)
        request = http_request(
            operation, call.arguments, secrets={}, idempotency_key=idempotency_key
        )
        headers = list(request.headers)
    else:
        headers = _headers(call.headers)
        request = _written(call, headers)
    names = {name.lower() for name, _ in headers}
    if idempotency_key and request.method not in _SAFE_METHODS and KEY_HEADER not in names:
        headers.append((KEY_HEADER, key_text(idempotency_key)))
    if call.authentication is not None and credentials is not None:
        if call.authentication.scheme == "Basic":
            credentials = base64.b64encode(credentials.encode()).decode()
        headers.append(("authorization", f"{call.authentication.scheme} {credentials}"))
    return HttpRequest(request.method, request.url, tuple(headers), request.content)


def public_headers(request: HttpRequest) -> dict[str, JsonValue]:
    """Return the headers of a request without credentials."""
    return {name: value for name, value in request.headers if name not in _CREDENTIAL_HEADERS}


def _written(call: HttpCallRequest, headers: list[tuple[str, str]]) -> HttpRequest:
    """Return the request of a call that has a method and a URL; adds the type of its body."""
    url = call.url
    origin_of_url(url)
    query = [pair for name, value in call.query.items() for pair in _pairs(name, value)]
    if query:
        url += ("&" if "?" in url else "?") + urlencode(query, quote_via=quote)
    content = _content(call.body, headers)
    check_sizes(url, headers, content)
    return HttpRequest(call.method, url, tuple(headers), content)


def _headers(given: Mapping[str, JsonValue]) -> list[tuple[str, str]]:
    headers: list[tuple[str, str]] = []
    for name, value in given.items():
        lower = name.lower()
        if not _HEADER_NAME.fullmatch(name) or lower in FORBIDDEN_HEADERS:
            raise InvalidCall(f"headers: {_shown(name)} cannot be set")
        if lower in _CREDENTIAL_HEADERS:
            raise InvalidCall(f"headers: {_shown(name)} cannot be set: use 'authentication'")
        if value is None:
            continue
        text = scalar_text(value, f"headers.{name}")
        if not re.fullmatch(r"[\x20-\x7e]*", text):
            raise InvalidCall(f"headers: {_shown(name)} has printable ASCII characters only")
        headers.append((lower, text.strip()))
    if not any(name == "accept" for name, _ in headers):
        headers.append(("accept", "application/json, text/plain;q=0.9, */*;q=0.5"))
    return headers


def _pairs(name: str, value: JsonValue) -> list[tuple[str, str]]:
    values = value if isinstance(value, list) else [value]
    return [(name, scalar_text(each, f"query.{name}")) for each in values if each is not None]


def _content(body: JsonValue, headers: list[tuple[str, str]]) -> bytes:
    """Return a body as the header `content-type` says: by default as JSON."""
    if body is None:
        return b""
    kind = next((value for name, value in headers if name == "content-type"), None)
    if kind is None:
        kind = "application/json"
        headers.append(("content-type", kind))
    media_type = kind.partition(";")[0].strip().lower()
    if media_type == "application/json" or media_type.endswith("+json"):
        return to_json(body).encode()
    if media_type == _FORM:
        if not isinstance(body, dict):
            raise InvalidCall(f"body: {_shown(body)} must be an object to be sent as a form")
        pairs = [pair for name, value in body.items() for pair in _pairs(name, value)]
        return urlencode(pairs, quote_via=quote).encode()
    if not isinstance(body, str):
        raise InvalidCall(f"body: {_shown(body)} must be text to be sent as {_shown(kind)}")
    return body.encode()


def _shown(value: object) -> str:
    return cut(repr(value), _SHOWN_BYTES)

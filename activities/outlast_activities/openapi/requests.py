"""The HTTP request of a call: arguments in the path, the query, headers, cookies and the body."""

import base64
import re
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import quote, unquote

from pydantic import JsonValue

from outlast.agents.openapi.operations import Credential, Operation, Parameter
from outlast.errors import ToolError
from outlast.text.hints import hint
from outlast.text.json_text import to_json
from outlast.text.texts import cut

MAX_URL_BYTES = 16_000
"""Bytes of a URL. Most servers accept fewer."""

MAX_HEADER_BYTES = 8_000
"""Bytes of a header that arguments make."""

MAX_REQUEST_BYTES = 2_000_000
"""Bytes of the body of a request."""

_SHOWN_BYTES = 60

_Pairs = list[tuple[str, str]]
"""Names and values of a query, a form or cookies, encoded for a URL."""


@dataclass(frozen=True)
class HttpRequest:
    """A request as it is sent. It holds secrets."""

    method: str
    url: str
    headers: tuple[tuple[str, str], ...]
    content: bytes


def http_request(
    operation: Operation,
    arguments: Mapping[str, JsonValue],
    *,
    secrets: Mapping[str, str],
    idempotency_key: str,
) -> HttpRequest:
    """Return the request of a call. `secrets` are the values of environment variables by name.

    Raises `ToolError` for arguments that do not fit the operation.
    """
    _check_names(operation, arguments)
    request = _Parts(operation.path)
    for parameter in operation.parameters:
        value = arguments.get(parameter.argument)
        if value is not None:
            request.add(parameter, value)
    if any(unquote(segment) in {".", ".."} for segment in request.path.split("/")):
        raise ToolError("the arguments make a path with '.' or '..'")
    content, media_type = _content(operation, arguments)
    if media_type:
        request.headers.append(("content-type", media_type))
    if operation.idempotency_header and idempotency_key:
        request.headers.append((operation.idempotency_header, key_text(idempotency_key)))
    for credential in operation.credentials:
        request.add_secret(credential, secrets[credential.variable])
    if request.cookies:
        request.headers.append(("cookie", "; ".join(map("=".join, request.cookies))))
    url = operation.server + request.path
    url += f"?{_joined(request.query)}" if request.query else ""
    check_sizes(url, request.headers, content)
    return HttpRequest(operation.method, url, tuple(request.headers), content)


class _Parts:
    """The parts of a request, as parameters fill them."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.query: _Pairs = []
        self.cookies: _Pairs = []
        self.headers = [("accept", "application/json, text/plain;q=0.9, */*;q=0.5")]

    def add(self, parameter: Parameter, value: JsonValue) -> None:
        """Add an argument."""
        if parameter.place == "path":
            self.path = self.path.replace(f"{{{parameter.name}}}", _path_text(parameter, value))
        elif parameter.place == "query":
            self.query += _pairs(parameter, value)
        elif parameter.place == "header":
            self.headers.append((parameter.name, _header_text(parameter, value)))
        else:
            self.cookies += _pairs(parameter, value)

    def add_secret(self, credential: Credential, secret: str) -> None:
        """Add a credential."""
        if credential.scheme == "Basic":
            secret = base64.b64encode(secret.encode()).decode()
        if credential.place == "header":
            self.headers.append((credential.name, f"{credential.scheme} {secret}".strip()))
        elif credential.place == "query":
            self.query.append((_encoded(credential.name), _encoded(secret)))
        else:
            self.cookies.append((credential.name, secret))


def key_text(idempotency_key: str) -> str:
    """Return the idempotency key of a call as a UUID: services limit its length and its characters."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, idempotency_key))


def _check_names(operation: Operation, arguments: Mapping[str, JsonValue]) -> None:
    known = {each.argument: each.required for each in operation.parameters}
    if operation.body is not None:
        known[operation.body.argument] = operation.body.required
    for name in arguments:
        if name not in known:
            raise ToolError(
                f"{cut(repr(name), _SHOWN_BYTES)} is not an argument; {hint(name, known)}"
            )
    for name, is_required in known.items():
        if is_required and arguments.get(name) is None:
            raise ToolError(f"{name}: is required")


def check_sizes(url: str, headers: list[tuple[str, str]], content: bytes) -> None:
    """Raise `ToolError` for a request that is too large."""
    if len(url) > MAX_URL_BYTES:
        raise ToolError(f"the arguments make a URL of more than {MAX_URL_BYTES:,} bytes")
    if any(len(text) > MAX_HEADER_BYTES for _, text in headers):
        raise ToolError(f"the arguments make a header of more than {MAX_HEADER_BYTES:,} bytes")
    if len(content) > MAX_REQUEST_BYTES:
        raise ToolError(f"the body has more than {MAX_REQUEST_BYTES:,} bytes")


def scalar_text(value: JsonValue, name: str) -> str:
    """Return a scalar as text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return ""
    if isinstance(value, dict | list):
        raise ToolError(
            f"{name}: {cut(repr(value), _SHOWN_BYTES)} must be text, a number or a boolean"
        )
    return value if isinstance(value, str) else to_json(value)


def _encoded(text: str) -> str:
    return quote(text, safe="")


def _parts(parameter: Parameter, value: JsonValue, separator: str) -> list[str]:
    """Return the parts of a value in the style `simple`, or in `form` without `explode`."""
    name = parameter.argument
    if isinstance(value, list):
        return [scalar_text(each, name) for each in value]
    if isinstance(value, dict):
        pairs = [(key, scalar_text(each, f"{name}.{key}")) for key, each in value.items()]
        if separator:
            return [f"{key}{separator}{text}" for key, text in pairs]
        return [part for pair in pairs for part in pair]
    return [scalar_text(value, name)]


def _path_text(parameter: Parameter, value: JsonValue) -> str:
    if parameter.is_json:
        parts = [to_json(value)]
    else:
        parts = _parts(parameter, value, "=" if parameter.explode else "")
    text = ",".join(parts)
    # A server that decodes the path before it routes would leave the operation.
    decoded = unquote(unquote(text))
    if not text or any(part in {".", ".."} for part in re.split(r"[/\\]", decoded)):
        raise ToolError(
            f"{parameter.argument}: {cut(repr(text), _SHOWN_BYTES)} cannot be part of a path"
        )
    if not decoded.isprintable():
        raise ToolError(f"{parameter.argument}: a path has printable characters only")
    return ",".join(map(_encoded, parts))


def _header_text(parameter: Parameter, value: JsonValue) -> str:
    if parameter.is_json:
        text = to_json(value)
    else:
        text = ",".join(_parts(parameter, value, "=" if parameter.explode else ""))
    if not re.fullmatch(r"[\x20-\x7e]*", text):
        raise ToolError(f"{parameter.argument}: a header has printable ASCII characters only")
    return text.strip()


def _pairs(parameter: Parameter, value: JsonValue) -> _Pairs:
    """Return the pairs of a query, a form or a cookie."""
    name, argument = _encoded(parameter.name), parameter.argument
    if parameter.is_json:
        return [(name, _encoded(to_json(value)))]
    if parameter.style == "deepObject":
        if not isinstance(value, dict):
            raise ToolError(f"{argument}: {cut(repr(value), _SHOWN_BYTES)} must be an object")
        return [(f"{name}%5B{key}%5D", text) for key, text in _fields(value, argument)]
    if parameter.explode and isinstance(value, dict):
        return list(_fields(value, argument))
    if parameter.explode and isinstance(value, list):
        return [(name, _encoded(scalar_text(each, argument))) for each in value]
    return [(name, ",".join(map(_encoded, _parts(parameter, value, ""))))]


def _fields(value: Mapping[str, JsonValue], argument: str) -> Iterator[tuple[str, str]]:
    for key, each in value.items():
        if each is not None:
            yield _encoded(key), _encoded(scalar_text(each, f"{argument}.{key}"))


def _joined(pairs: _Pairs) -> str:
    return "&".join(f"{name}={text}" for name, text in pairs)


def _content(operation: Operation, arguments: Mapping[str, JsonValue]) -> tuple[bytes, str]:
    """Return the body of a request and its type, or nothing."""
    body = operation.body
    if body is None or body.argument not in arguments:
        return b"", ""
    value = arguments[body.argument]
    if body.kind == "json":
        return to_json(value).encode(), body.media_type
    if body.kind == "text":
        return scalar_text(value, body.argument).encode(), body.media_type
    if not isinstance(value, dict):
        raise ToolError(f"{body.argument}: {cut(repr(value), _SHOWN_BYTES)} must be an object")
    fields = {each.name: each for each in body.fields}
    pairs: _Pairs = []
    for name, each in value.items():
        if name not in fields:
            raise ToolError(
                f"{body.argument}: {cut(repr(name), _SHOWN_BYTES)} is not a field; {hint(name, fields)}"
            )
        if each is not None:
            pairs += _pairs(fields[name], each)
    return _joined(pairs).encode(), body.media_type

"""URI templates of the DSL: simple string expansion (RFC 6570, section 3.2.2) of fields of the input."""

import re
from urllib.parse import quote, unquote

from pydantic import JsonValue

from outlast.pipelines.jq.budget import ExpressionError
from outlast.pipelines.jq.values import type_of
from outlast.text.json_text import to_json
from outlast.text.texts import cut

MAX_URI_BYTES = 4_000
"""Bytes of a URI template in a document."""

MAX_SHOWN = 60
"""Bytes of a value in a message."""

_BASE = re.compile(r"https?://[^/?#{}@\\\s]+(?=[/?]|$)", re.IGNORECASE)
_VARIABLE = re.compile(r"\{([^{}]*)\}")
_OPERATORS = "+#./;?&=,!@|"


def uri_problem(uri: str) -> str | None:
    """Return why a text is no URI template, or None. Its host cannot depend on data."""
    if len(uri) > MAX_URI_BYTES:
        return f"has more than {MAX_URI_BYTES:,} characters"
    base = _BASE.match(uri)
    if base is None:
        return "must begin with https:// and a host; '{name}' belongs to the path and the query"
    rest = uri[base.end() :]
    for name in _VARIABLE.findall(rest):
        if not name or name[0] in _OPERATORS or name[-1] == "*":
            return f"'{{{name}}}' is not supported; give the name of a field of the input"
    plain = _VARIABLE.sub("x", rest)
    if not re.fullmatch(r"[!-~]*", plain) or re.search(r"[{}#\\]", plain):
        return "must be ASCII without white space, single braces and a fragment"
    if _has_dots(plain):
        return "has a path with '.' or '..'"
    return None


def expanded(uri: str, data: JsonValue) -> str:
    """Return the URI with fields of the input. A missing one is empty.

    Raises `ExpressionError` for a value that is not a scalar, or that would lead to another path.
    """
    fields = data if isinstance(data, dict) else {}
    query = uri.find("?")

    def value_of(match: re.Match[str]) -> str:
        text = _text(fields.get(match.group(1)), match.group(1))
        if query < 0 or match.start() < query:
            _check_part(text, match.group(1))
        return quote(text, safe="")

    result = _VARIABLE.sub(value_of, uri)
    if _has_dots(result[len(_base(uri)) :]):
        raise ExpressionError(f"{cut(uri, MAX_SHOWN)!r}: its values make a path with '.' or '..'")
    return result


def _base(uri: str) -> str:
    match = _BASE.match(uri)
    return match.group() if match else ""


def _has_dots(path: str) -> bool:
    segments = path.partition("?")[0].split("/")
    return any(unquote(segment) in {".", ".."} for segment in segments)


def _text(value: JsonValue, name: str) -> str:
    if value is None:
        return ""
    if isinstance(value, dict | list):
        raise ExpressionError(
            f"'{{{name}}}' is {type_of(value)}; it must be a text, a number or a boolean"
        )
    return value if isinstance(value, str) else to_json(value)


def _check_part(text: str, name: str) -> None:
    # A server that decodes the path before it routes would leave it.
    decoded = unquote(unquote(text))
    if any(part in {".", ".."} for part in re.split(r"[/\\]", decoded)):
        raise ExpressionError(
            f"'{{{name}}}': {cut(repr(text), MAX_SHOWN)} cannot be part of a path"
        )

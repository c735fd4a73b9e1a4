"""JSON as text: the one encoding that digests and prompts use, and strict decoding of what people type.

Decoding takes linear time, and bounds depth and digits: a value that passes can be encoded, copied and
decoded everywhere else.
"""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from pydantic import JsonValue

JsonInput: TypeAlias = (
    "str | int | float | bool | Sequence[JsonInput] | Mapping[str, JsonInput] | None"
)
"""JSON as a caller has it: type checkers take a `list[str]` too, which is no `list[JsonValue]`."""

MAX_JSON_DEPTH = 100
"""Nesting of JSON that people type. Later parsers allow 200 levels, with what is around it."""

MAX_JSON_DIGITS = 1_000
"""Characters of a number in JSON that people type. Python itself reads 4,300 digits at most."""

_MAX_INTEGER = 10**MAX_JSON_DIGITS


_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)


class NestedTooDeep(ValueError):
    """Raised when JSON has more levels than allowed."""


def to_json(value: JsonValue) -> str:
    """Encode a value as compact JSON. Raises `ValueError` for a number that JSON does not have."""
    return _ENCODER.encode(value)


def from_json(text: str | bytes) -> JsonValue:
    """Decode JSON. Raises `ValueError` for invalid JSON, and for numbers and nesting without bounds."""
    try:
        value: JsonValue = json.loads(
            text, parse_constant=_reject_constant, parse_int=_integer, parse_float=_float
        )
    except RecursionError:
        raise NestedTooDeep("nested too deep") from None
    except UnicodeDecodeError:
        raise ValueError("it is not text in UTF-8") from None
    return checked_json(value, max_depth=MAX_JSON_DEPTH)


def plain_json(value: JsonInput) -> JsonValue:
    """Return a value with lists and dicts for its sequences and mappings. Raises `NestedTooDeep`."""
    try:
        plain: JsonValue = _plain(value)
    except RecursionError:
        raise NestedTooDeep(
            f"nested too deep: at most {MAX_JSON_DEPTH} levels are allowed"
        ) from None
    return plain


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, Mapping):
        return {name: _plain(entry) for name, entry in value.items()}
    return value  # whoever sends it checks it


def checked_json(value: JsonValue, *, max_depth: int) -> JsonValue:
    """Return a JSON value. Raises `ValueError` for deep nesting, and for text or numbers out of bounds."""
    layer: list[Any] = [value]
    for _ in range(max_depth):
        inner: list[Any] = []
        for item in layer:
            if isinstance(item, dict):
                inner.extend(item.keys())
                inner.extend(item.values())
            elif isinstance(item, list | tuple):
                inner.extend(item)
            else:
                _check_scalar(item)
        layer = inner
        if not layer:
            return value
    if any(isinstance(item, dict | list | tuple) for item in layer):
        raise NestedTooDeep(f"nested too deep: at most {max_depth} levels are allowed")
    for item in layer:
        _check_scalar(item)
    return value


def _check_scalar(value: Any) -> None:
    if isinstance(value, str):
        if not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError:
                raise ValueError("half a surrogate pair is not text") from None
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{value} is not a JSON number")
    elif isinstance(value, int) and not -_MAX_INTEGER < value < _MAX_INTEGER:
        raise ValueError(_TOO_LONG)


_TOO_LONG = f"a number has more than {MAX_JSON_DIGITS:,} digits"


def _integer(digits: str) -> int:
    if len(digits) > MAX_JSON_DIGITS:
        raise ValueError(_TOO_LONG)
    return int(digits)


def _float(digits: str) -> float:
    if len(digits) > MAX_JSON_DIGITS:
        raise ValueError(_TOO_LONG)
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"{digits[:40]} is too large a number")
    return value


def _reject_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")

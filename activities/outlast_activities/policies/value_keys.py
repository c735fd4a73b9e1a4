"""Equality of JSON values, as JSON Schema defines it: 1 is 1.0, and true is not 1."""

import json
from collections.abc import Callable
from typing import Any

_TYPES = {str: "string", list: "array", dict: "object", bool: "boolean", int: "integer"}


def type_of(value: Any) -> str:
    """Return the type of a JSON value; a `float` is a number."""
    if value is None:
        return "null"
    return _TYPES.get(type(value), "number")


def value_key(value: Any, spend: Callable[[int], None]) -> str:
    """Return a text that equal values share. `spend` counts the parts of the value.

    A text, unlike a number, has a hash that nobody can foresee.
    """
    spend(1)
    if isinstance(value, str):
        return json.dumps(value)
    if value is None or isinstance(value, bool):
        return str(value)
    if isinstance(value, float):
        return hex(int(value)) if value.is_integer() else repr(value)
    if isinstance(value, int):
        return hex(value)
    if isinstance(value, list):
        return f"[{','.join(value_key(item, spend) for item in value)}]"
    parts = sorted((json.dumps(name), value_key(part, spend)) for name, part in value.items())
    return "{" + ",".join(f"{name}:{key}" for name, key in parts) + "}"

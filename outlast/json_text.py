"""JSON as text: the one encoding that digests and prompts use, and strict decoding of what people type."""

import json

from pydantic import JsonValue


def to_json(value: JsonValue) -> str:
    """Encode a value as compact JSON. Raises `ValueError` for a number that JSON does not have."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def from_json(text: str | bytes) -> JsonValue:
    """Decode JSON. Raises `ValueError` for invalid JSON, `NaN`, `Infinity`, and too deep nesting."""
    try:
        value: JsonValue = json.loads(text, parse_constant=_reject_constant)
    except RecursionError:
        raise ValueError("nested too deep") from None
    return value


def _reject_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")

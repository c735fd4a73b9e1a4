"""Functions on the keys of objects."""

from collections.abc import Iterator

from pydantic import JsonValue

from outlast.pipelines.jq.budget import Budget, ExpressionError
from outlast.pipelines.jq.function_types import Filter, items_of, unexpected
from outlast.pipelines.jq.values import (
    is_number,
    shown,
)


def keys_of(value: JsonValue, budget: Budget, *, is_sorted: bool = True) -> JsonValue:
    """Return the result of `keys`."""
    if isinstance(value, list):
        budget.write(len(value))
        return list(range(len(value)))
    if not isinstance(value, dict):
        raise unexpected("keys", "an object or array", value)
    budget.write(len(value))
    return sorted(value) if is_sorted else list(value)  # type: ignore[return-value]


def has_key(value: JsonValue, key: JsonValue, budget: Budget) -> JsonValue:
    """Return the result of `has(key)`."""
    del budget
    if isinstance(value, dict) and isinstance(key, str):
        return key in value
    if isinstance(value, list) and is_number(key):
        return 0 <= key < len(value)
    raise ExpressionError(f"has: {shown(value)} cannot have the key {shown(key)}")


def to_entries(value: JsonValue, budget: Budget) -> JsonValue:
    """Return the result of `to_entries`."""
    if not isinstance(value, dict | list):
        raise unexpected("to_entries", "an object", value)
    budget.write(20 * len(value))
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    return [{"key": key, "value": each} for key, each in pairs]


def from_entries(value: JsonValue, budget: Budget) -> JsonValue:
    """Return the result of `from_entries`."""
    result: dict[str, JsonValue] = {}
    for each in items_of("from_entries", value, budget):
        if not isinstance(each, dict):
            raise unexpected("from_entries", "objects", each)
        key = next((each[name] for name in _KEY_NAMES if each.get(name) is not None), None)
        if not isinstance(key, str):
            raise unexpected("from_entries", "strings as keys", key)
        result[key] = next((each[name] for name in _VALUE_NAMES if name in each), None)
    budget.write(len(result))
    return result


_KEY_NAMES = ("key", "name", "Name", "Key")


_VALUE_NAMES = ("value", "Value")


def with_entries(
    value: JsonValue, arguments: tuple[Filter, ...], budget: Budget
) -> Iterator[JsonValue]:
    """Yield the result of `with_entries(filter)`."""
    entries = items_of("with_entries", to_entries(value, budget), budget)
    yield from_entries([each for entry in entries for each in arguments[0](entry)], budget)


def is_key_in(value: JsonValue, whole: JsonValue, budget: Budget) -> JsonValue:
    """Return the result of `in(whole)`."""
    return has_key(whole, value, budget)

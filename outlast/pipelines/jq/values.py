"""Values as jq sees them: their types, order, truth, and numbers without a fraction as integers."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

from pydantic import JsonValue

from outlast.pipelines.jq.budget import Budget, ExpressionError
from outlast.text.json_text import to_json
from outlast.text.texts import cut

MAX_SHOWN = 40
"""Bytes of a value in a message."""

_EXACT = 1e17
"""Numbers without a fraction below it are written as integers."""


def type_of(value: JsonValue) -> str:
    """Return jq's name of a type."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str):
        return "string"
    return "array" if isinstance(value, list) else "object"


def shown(value: JsonValue) -> str:
    """Return a value for a message: its type, and its start."""
    if isinstance(value, list | dict):
        return f"{type_of(value)} of {len(value)}"
    try:
        text = to_json(value)
    except ValueError:
        text = "…"
    return f"{type_of(value)} ({cut(text, MAX_SHOWN)})"


def is_true(value: JsonValue) -> bool:
    """Tell whether a value counts as true: all but `false` and `null` do."""
    return value is not None and value is not False


def is_number(value: JsonValue) -> TypeGuard[int | float]:
    """Tell whether a value is a number: true and false are not."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def number(value: float) -> int | float:
    """Return the result of arithmetic. Raises `ExpressionError` if it is infinite or not a number."""
    if isinstance(value, int) and not -_EXACT < value < _EXACT:
        try:
            value = float(value)
        except OverflowError:
            raise ExpressionError("a number is too large") from None
    if not math.isfinite(value):
        raise ExpressionError("a number is too large")
    if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT:
        return int(value)
    return value


def sort_key(value: JsonValue, budget: Budget) -> Any:
    """Return what orders values as jq does: by type first. Two values are equal if their keys are."""
    budget.spend()
    if value is None:
        return (0,)
    if isinstance(value, bool):
        return (2,) if value else (1,)
    if isinstance(value, int | float):
        return (3, value)
    if isinstance(value, str):
        return (4, value)
    if isinstance(value, Sequence):
        return (5, [sort_key(each, budget) for each in value])
    keys = sorted(value)
    return (6, keys, [sort_key(value[key], budget) for key in keys])


def are_equal(left: JsonValue, right: JsonValue, budget: Budget) -> bool:
    """Tell whether two values are equal: 1 and 1.0 are, and 1 and true are not."""
    if isinstance(left, str) or isinstance(right, str):
        return isinstance(left, str) and isinstance(right, str) and left == right
    return bool(sort_key(left, budget) == sort_key(right, budget))


def contains(whole: JsonValue, part: JsonValue, budget: Budget) -> bool:
    """Tell whether a value contains another one, as jq's function of this name does."""
    budget.spend()
    if isinstance(whole, str) and isinstance(part, str):
        return part in whole
    if isinstance(whole, list) and isinstance(part, list):
        return all(any(_contains(each, wanted, budget) for each in whole) for wanted in part)
    if isinstance(whole, dict) and isinstance(part, dict):
        return all(key in whole and _contains(whole[key], part[key], budget) for key in part)
    if type_of(whole) != type_of(part):
        raise ExpressionError(f"{shown(whole)} and {shown(part)} cannot be checked with contains")
    return are_equal(whole, part, budget)


def _contains(whole: JsonValue, part: JsonValue, budget: Budget) -> bool:
    return type_of(whole) == type_of(part) and contains(whole, part, budget)


def merged(
    left: Mapping[str, JsonValue], right: Mapping[str, JsonValue], budget: Budget
) -> dict[str, JsonValue]:
    """Return the deep merge of two objects: jq's `*`."""
    budget.write(len(left) + len(right))
    result = dict(left)
    for key, value in right.items():
        known = result.get(key)
        both = isinstance(known, dict) and isinstance(value, dict)
        result[key] = merged(known, value, budget) if both else value  # type: ignore[arg-type]
    return result


def text_of(value: JsonValue, budget: Budget) -> str:
    """Return a text as it is, and any other value as JSON."""
    if isinstance(value, str):
        return value
    charge_json(value, budget)
    return to_json(value)


def charge_json(value: JsonValue, budget: Budget) -> None:
    """Count the bytes of a value as JSON, before it is written."""
    if isinstance(value, str):
        budget.write(len(value) + 2)
    elif isinstance(value, list):
        budget.write(2 + len(value))
        for each in value:
            charge_json(each, budget)
    elif isinstance(value, dict):
        budget.write(2 + len(value))
        for key, each in value.items():
            budget.write(len(key) + 3)
            charge_json(each, budget)
    else:
        budget.write(8)

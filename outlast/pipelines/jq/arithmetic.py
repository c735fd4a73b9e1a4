"""The operators `+ - * / %` of expressions."""

import math
from collections.abc import Callable
from typing import Any

from pydantic import JsonValue

from outlast.pipelines.jq.budget import Budget, ExpressionError
from outlast.pipelines.jq.values import are_equal, is_number, merged, number, shown, type_of


def calculate(operator: str, left: JsonValue, right: JsonValue, budget: Budget) -> JsonValue:
    """Return the result of an operator. Raises `ExpressionError` for types that it does not take."""
    if operator == "+" and (left is None or right is None):
        return right if left is None else left
    if is_number(left) and is_number(right):
        return _numeric(operator, left, right)
    function = _OPERATIONS.get((operator, type_of(left), type_of(right)))
    if function is None:
        raise ExpressionError(f"{shown(left)} and {shown(right)} cannot be {_VERBS[operator]}")
    result: JsonValue = function(left, right, budget)
    return result


def _joined(left: Any, right: Any, budget: Budget) -> JsonValue:
    budget.write(len(left) + len(right))
    return left | right if isinstance(left, dict) else left + right  # type: ignore[no-any-return]


def _difference(left: list[JsonValue], right: list[JsonValue], budget: Budget) -> JsonValue:
    budget.write(len(left))
    return [each for each in left if not any(are_equal(each, no, budget) for no in right)]


def _split(left: str, right: str, budget: Budget) -> JsonValue:
    budget.write(len(left) + 1)
    if not left:
        return []
    return list(left) if not right else left.split(right)  # type: ignore[return-value]


def _numeric(operator: str, left: float, right: float) -> JsonValue:
    left, right = number(left), number(right)
    if operator in "/%" and (int(right) if operator == "%" else right) == 0:
        raise ExpressionError(f"{left} cannot be divided by zero")
    if operator == "+":
        return number(left + right)
    if operator == "-":
        return number(left - right)
    if operator == "*":
        return number(float(left) * float(right))
    if operator == "/":
        return number(left / right)
    return number(math.fmod(int(left), abs(int(right))))


def _repeated(text: str, times: float, budget: Budget) -> JsonValue:
    if times < 0:
        return None
    count = math.floor(times)
    budget.write(len(text) * count)
    return text * count


_OPERATIONS: dict[tuple[str, str, str], Callable[..., JsonValue]] = {
    ("+", "string", "string"): _joined,
    ("+", "array", "array"): _joined,
    ("+", "object", "object"): _joined,
    ("-", "array", "array"): _difference,
    ("*", "object", "object"): merged,
    ("*", "string", "number"): _repeated,
    ("*", "number", "string"): lambda times, text, budget: _repeated(text, times, budget),
    ("/", "string", "string"): _split,
}
"""What an operator does, by the types of its operands."""

_VERBS = {"+": "added", "-": "subtracted", "*": "multiplied", "/": "divided", "%": "divided"}

"""Kinds of functions, and what they read of their input. A filter turns a value into a stream of values."""

from collections.abc import Callable, Iterator

from pydantic import JsonValue

from outlast.pipelines.jq.budget import Budget, ExpressionError
from outlast.pipelines.jq.values import (
    is_number,
    shown,
)

Filter = Callable[[JsonValue], Iterator[JsonValue]]


Function = Callable[[JsonValue, tuple[Filter, ...], Budget], Iterator[JsonValue]]


def of_value(function: Callable[[JsonValue, Budget], JsonValue]) -> Function:
    """Return a function without arguments."""

    def call(
        value: JsonValue, arguments: tuple[Filter, ...], budget: Budget
    ) -> Iterator[JsonValue]:
        del arguments
        yield function(value, budget)

    return call


def of_argument(function: Callable[[JsonValue, JsonValue, Budget], JsonValue]) -> Function:
    """Return a function of one argument, which is called for each of the argument's values."""

    def call(
        value: JsonValue, arguments: tuple[Filter, ...], budget: Budget
    ) -> Iterator[JsonValue]:
        for argument in arguments[0](value):
            yield function(value, argument, budget)

    return call


def unexpected(name: str, kind: str, value: JsonValue) -> ExpressionError:
    """Return the error of a function that needs another kind of value."""
    return ExpressionError(f"{name} needs {kind}, not {shown(value)}")


def items_of(name: str, value: JsonValue, budget: Budget) -> list[JsonValue]:
    """Return the items of an array, and count them."""
    if not isinstance(value, list):
        raise unexpected(name, "an array", value)
    budget.spend(len(value))
    return value


def text_from(name: str, value: JsonValue) -> str:
    """Return a text, or raise `ExpressionError`."""
    if not isinstance(value, str):
        raise unexpected(name, "a string", value)
    return value


def number_from(name: str, value: JsonValue) -> float:
    """Return a number, or raise `ExpressionError`."""
    if not is_number(value):
        raise unexpected(name, "a number", value)
    return value

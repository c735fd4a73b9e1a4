"""Functions that take filters, and those that yield several values or none."""

from collections.abc import Iterator

from pydantic import JsonValue

from outlast.pipelines.jq.budget import Budget, ExpressionError
from outlast.pipelines.jq.function_types import Filter, Function, items_of, number_from
from outlast.pipelines.jq.values import (
    is_true,
    number,
    shown,
    type_of,
)


def mapped(value: JsonValue, arguments: tuple[Filter, ...], budget: Budget) -> Iterator[JsonValue]:
    """Yield the result of `map(filter)`."""
    values = list(value.values()) if isinstance(value, dict) else items_of("map", value, budget)
    result: list[JsonValue] = []
    for each in values:
        for mapped in arguments[0](each):
            budget.write(1)
            result.append(mapped)
    yield result


def mapped_values(
    value: JsonValue, arguments: tuple[Filter, ...], budget: Budget
) -> Iterator[JsonValue]:
    """Yield the result of `map_values(filter)`."""
    if isinstance(value, dict):
        budget.write(len(value))
        yield {
            key: mapped for key, each in value.items() for mapped in _first_of(arguments[0](each))
        }
    else:
        items = items_of("map_values", value, budget)
        yield [mapped for each in items for mapped in _first_of(arguments[0](each))]


def _first_of(values: Iterator[JsonValue]) -> list[JsonValue]:
    for value in values:
        return [value]
    return []


def selected(
    value: JsonValue, arguments: tuple[Filter, ...], budget: Budget
) -> Iterator[JsonValue]:
    """Yield the input if `select` lets it pass."""
    del budget
    for test in arguments[0](value):
        if is_true(test):
            yield value


def selecting(*types: str) -> Function:
    """Return a function that lets values of some types pass."""

    def call(
        value: JsonValue, arguments: tuple[Filter, ...], budget: Budget
    ) -> Iterator[JsonValue]:
        del arguments, budget
        if type_of(value) in types:
            yield value

    return call


def nothing(value: JsonValue, arguments: tuple[Filter, ...], budget: Budget) -> Iterator[JsonValue]:
    """Yield nothing, as `empty`."""
    del value, arguments, budget
    yield from ()


class RaisedError(ExpressionError):
    """Raised by the function `error`, with the value that `catch` gets."""

    def __init__(self, value: JsonValue) -> None:
        super().__init__(value if isinstance(value, str) else f"error: {shown(value)}")
        self.value = value


def raised(value: JsonValue, arguments: tuple[Filter, ...], budget: Budget) -> Iterator[JsonValue]:
    """Raise the error of `error`."""
    del budget
    for reason in arguments[0](value) if arguments else iter((value,)):
        raise RaisedError(reason)
    yield from ()


def counted_range(
    value: JsonValue, arguments: tuple[Filter, ...], budget: Budget
) -> Iterator[JsonValue]:
    """Yield the numbers of `range`."""
    if len(arguments) == 1:
        starts: list[JsonValue] = [0]
        ends = list(arguments[0](value))
    else:
        starts, ends = list(arguments[0](value)), list(arguments[1](value))
    steps = list(arguments[2](value)) if len(arguments) == 3 else [1]
    for start in starts:
        for end in ends:
            for step in steps:
                yield from _counted(start, end, step, budget)


def _counted(
    start: JsonValue, end: JsonValue, step: JsonValue, budget: Budget
) -> Iterator[JsonValue]:
    current, last, by = (number_from("range", each) for each in (start, end, step))
    if by == 0:
        return
    while current < last if by > 0 else current > last:
        budget.spend()
        yield number(current)
        current += by


def first(value: JsonValue, arguments: tuple[Filter, ...], budget: Budget) -> Iterator[JsonValue]:
    """Yield the result of `first`."""
    if arguments:
        yield from _first_of(arguments[0](value))
    else:
        items = items_of("first", value, budget) if value is not None else []
        yield items[0] if items else None


def last(value: JsonValue, arguments: tuple[Filter, ...], budget: Budget) -> Iterator[JsonValue]:
    """Yield the result of `last`."""
    if not arguments:
        items = items_of("last", value, budget) if value is not None else []
        yield items[-1] if items else None
        return
    found: list[JsonValue] = []
    for each in arguments[0](value):
        found = [each]
    yield from found


def limited(value: JsonValue, arguments: tuple[Filter, ...], budget: Budget) -> Iterator[JsonValue]:
    """Yield the values of `limit(count; filter)`."""
    del budget
    for most in arguments[0](value):
        left = number_from("limit", most)
        if left < 0:
            raise ExpressionError("limit needs a count of at least 0")
        if left == 0:
            continue
        for each in arguments[1](value):
            yield each
            left -= 1
            if left <= 0:
                break

"""Functions on whole arrays: order, groups, and search."""

from collections.abc import Callable, Iterator
from itertools import groupby

from pydantic import JsonValue

from outlast.pipelines.jq.budget import Budget, ExpressionError
from outlast.pipelines.jq.function_types import Filter, Function, items_of, number_from, text_from
from outlast.pipelines.jq.values import (
    are_equal,
    is_true,
    sort_key,
)


def reversed_array(value: JsonValue, budget: Budget) -> JsonValue:
    """Return the result of `reverse`."""
    if not value and isinstance(value, dict | None):
        return []
    return list(reversed(items_of("reverse", value, budget)))


def flattened(value: JsonValue, depth: JsonValue, budget: Budget) -> JsonValue:
    """Return the result of `flatten(depth)`."""
    levels = number_from("flatten", depth)
    if levels < 0:
        raise ExpressionError("flatten depth must not be negative")
    result: list[JsonValue] = []
    for each in items_of("flatten", value, budget):
        if isinstance(each, list) and levels > 0:
            inner = flattened(each, levels - 1, budget)
            result.extend(inner if isinstance(inner, list) else [])
        else:
            result.append(each)
    budget.write(len(result))
    return result


def flattened_fully(value: JsonValue, budget: Budget) -> JsonValue:
    """Return the result of `flatten`."""
    return flattened(value, 1_000, budget)


def quantified(*, wanted: bool, items: int | None, condition: int | None) -> Function:
    """Return `any` or `all`; `items` and `condition` are the numbers of their arguments."""

    def call(
        value: JsonValue, arguments: tuple[Filter, ...], budget: Budget
    ) -> Iterator[JsonValue]:
        name = "any" if wanted else "all"
        if items is not None:
            values = arguments[items](value)
        else:
            values = iter(
                list(value.values()) if isinstance(value, dict) else items_of(name, value, budget)
            )
        for each in values:
            tests = iter((each,)) if condition is None else arguments[condition](each)
            if any(is_true(test) == wanted for test in tests):
                yield wanted
                return
        yield not wanted

    return call


def _keyed(
    name: str, value: JsonValue, by: Filter | None, budget: Budget
) -> list[tuple[object, JsonValue]]:
    """Return the items of an array with their sort keys, in order."""
    keyed = [
        (sort_key(each if by is None else list(by(each)), budget), each)
        for each in items_of(name, value, budget)
    ]
    budget.write(len(keyed))
    budget.spend(len(keyed) * max(1, len(keyed)).bit_length())
    return sorted(keyed, key=lambda pair: pair[0])


def sorting(name: str, pick: Callable[[list[tuple[object, JsonValue]]], JsonValue]) -> Function:
    """Return a function that orders an array, and picks its result from the ordered items."""

    def call(
        value: JsonValue, arguments: tuple[Filter, ...], budget: Budget
    ) -> Iterator[JsonValue]:
        yield pick(_keyed(name, value, arguments[0] if arguments else None, budget))

    return call


def in_order(pairs: list[tuple[object, JsonValue]]) -> JsonValue:
    """Pick all items."""
    return [value for _, value in pairs]


def grouped(pairs: list[tuple[object, JsonValue]]) -> JsonValue:
    """Pick groups of equal items."""
    return [[value for _, value in group] for _, group in groupby(pairs, key=lambda pair: pair[0])]


def distinct(pairs: list[tuple[object, JsonValue]]) -> JsonValue:
    """Pick the first of equal items."""
    return [next(group)[1] for _, group in groupby(pairs, key=lambda pair: pair[0])]


def least(pairs: list[tuple[object, JsonValue]]) -> JsonValue:
    """Pick the first item."""
    return pairs[0][1] if pairs else None


def greatest(pairs: list[tuple[object, JsonValue]]) -> JsonValue:
    """Pick the last item."""
    return pairs[-1][1] if pairs else None


def index_of(value: JsonValue, part: JsonValue, budget: Budget) -> JsonValue:
    """Return the first place of a text in a text, or of an item in an array, or null."""
    if value is None:
        return None
    if isinstance(value, str):
        text, wanted = value, text_from("index", part)
        place = text.find(wanted) if wanted else -1
        return None if place < 0 else place
    for place, each in enumerate(items_of("index", value, budget)):
        if are_equal(each, part, budget):
            return place
    return None

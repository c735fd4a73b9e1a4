"""The evaluation of expressions: each node turns one value into a stream of values, within a budget."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pydantic import JsonValue

from outlast.pipelines.jq import syntax
from outlast.pipelines.jq.arithmetic import calculate
from outlast.pipelines.jq.budget import Budget, ExpressionError, OverBudget
from outlast.pipelines.jq.function_types import Filter
from outlast.pipelines.jq.functions import FUNCTIONS
from outlast.pipelines.jq.stream_functions import RaisedError
from outlast.pipelines.jq.values import (
    are_equal,
    is_number,
    is_true,
    number,
    shown,
    sort_key,
    text_of,
)

LANGUAGE_VERSION = "1"
"""The version of the language. A run keeps the version with which it started, so it replays equally."""

Variables = Mapping[str, JsonValue]


def evaluate(
    node: syntax.Node, value: JsonValue, variables: Variables, budget: Budget
) -> JsonValue:
    """Return the one value of an expression; null if it has none.

    Raises `ExpressionError` if it fails, has several values, or exceeds its budget.
    """
    values = _run(node, value, variables, budget)
    for result in values:
        for _ in values:
            raise ExpressionError("has several values; put it in [ ] for an array of them")
        return result
    return None


def _run(
    node: syntax.Node, value: JsonValue, variables: Variables, budget: Budget
) -> Iterator[JsonValue]:
    budget.spend()
    return _EVALUATIONS[type(node)](node, value, variables, budget)


def _identity(
    node: syntax.Identity, value: JsonValue, variables: Variables, budget: Budget
) -> Iterator[JsonValue]:
    del node, variables, budget
    yield value


def _literal(
    node: syntax.Literal, value: JsonValue, variables: Variables, budget: Budget
) -> Iterator[JsonValue]:
    del value, variables, budget
    yield node.value


def _text(
    node: syntax.Text, value: JsonValue, variables: Variables, budget: Budget
) -> Iterator[JsonValue]:
    texts = [""]
    for part in node.parts:
        ends = [text_of(each, budget) for each in _run(part, value, variables, budget)]
        budget.write(sum(len(text) + len(end) for end in ends for text in texts))
        texts = [text + end for end in ends for text in texts]
    yield from texts


def _variable(
    node: syntax.Variable, value: JsonValue, variables: Variables, budget: Budget
) -> Iterator[JsonValue]:
    del value, budget
    yield variables[node.name]


def _index(
    node: syntax.Index, value: JsonValue, variables: Variables, budget: Budget
) -> Iterator[JsonValue]:
    for target in _run(node.target, value, variables, budget):
        for key in _run(node.key, value, variables, budget):
            yield _item(target, key)


def _item(target: JsonValue, key: JsonValue) -> JsonValue:
    if target is None and (isinstance(key, str) or is_number(key)):
        return None
    if isinstance(target, dict) and isinstance(key, str):
        return target.get(key)
    if isinstance(target, list) and is_number(key):
        place = int(key // 1)
        place += len(target) if place < 0 else 0
        return target[place] if 0 <= place < len(target) else None
    raise ExpressionError(f"{shown(target)} has no item {shown(key)}")


def _slice(
    node: syntax.Slice, value: JsonValue, variables: Variables, budget: Budget
) -> Iterator[JsonValue]:
    for target in _run(node.target, value, variables, budget):
        for end in _edge(node.end, value, variables, budget):
            for start in _edge(node.start, value, variables, budget):
                yield _sliced(target, start, end, budget)


def _edge(
    node: syntax.Node | None, value: JsonValue, variables: Variables, budget: Budget
) -> Iterator[JsonValue]:
    return iter((None,)) if node is None else _run(node, value, variables, budget)


def _sliced(target: JsonValue, start: JsonValue, end: JsonValue, budget: Budget) -> JsonValue:
    if target is None:
        return None
    edges = [start, end]
    if not isinstance(target, str | list) or any(
        each is not None and not is_number(each) for each in edges
    ):
        raise ExpressionError(
            f"{shown(target)} cannot be sliced from {shown(start)} to {shown(end)}"
        )
    first = None if start is None else int(start // 1)  # type: ignore[operator]
    last = None if end is None else -int(-end // 1)  # type: ignore[operator]
    result = target[first:last]
    budget.write(len(result))
    return result


def _each(
    node: syntax.Each, value: JsonValue, variables: Variables, budget: Budget
) -> Iterator[JsonValue]:
    for target in _run(node.target, value, variables, budget):
        if isinstance(target, dict):
            yield from _counted(target.values(), budget)
        elif isinstance(target, list):
            yield from _counted(target, budget)
        else:
            raise ExpressionError(f"{shown(target)} has no items")


def _counted(values: Any, budget: Budget) -> Iterator[JsonValue]:
    for each in values:
        budget.spend()
        yield each


def _try(
    node: syntax.Try, value: JsonValue, variables: Variables, budget: Budget
) -> Iterator[JsonValue]:
    try:
        yield from _run(node.body, value, variables, budget)
    except OverBudget:
        raise
    except ExpressionError as error:
        if node.handler is None:
            return
        reason = error.value if isinstance(error, RaisedError) else str(error)
        yield from _run(node.handler, reason, variables, budget)


def _pipe(
    node: syntax.Pipe, value: JsonValue, variables: Variables, budget: Budget
) -> Iterator[JsonValue]:
    for each in _run(node.left, value, variables, budget):
        yield from _run(node.right, each, variables, budget)


def _binding(
    node: syntax.Binding, value: JsonValue, variables: Variables, budget: Budget
) -> Iterator[JsonValue]:
    for each in _run(node.source, value, variables, budget):
        yield from _run(node.body, value, {**variables, node.name: each}, budget)


def _comma(
    node: syntax.Comma, value: JsonValue, variables: Variables, budget: Budget
) -> Iterator[JsonValue]:
    for part in node.parts:
        yield from _run(part, value, variables, budget)


def _alternative(
    node: syntax.Alternative, value: JsonValue, variables: Variables, budget: Budget
) -> Iterator[JsonValue]:
    found = False
    for each in _run(node.left, value, variables, budget):
        if is_true(each):
            found = True
            yield each
    if not found:
        yield from _run(node.right, value, variables, budget)


def _logic(
    node: syntax.Logic, value: JsonValue, variables: Variables, budget: Budget
) -> Iterator[JsonValue]:
    decides = node.operator == "or"
    for left in _run(node.left, value, variables, budget):
        if is_true(left) == decides:
            yield decides
        else:
            for right in _run(node.right, value, variables, budget):
                yield is_true(right)


def _binary(
    node: syntax.Binary, value: JsonValue, variables: Variables, budget: Budget
) -> Iterator[JsonValue]:
    # jq takes the values of the right side in the outer loop.
    for right in _run(node.right, value, variables, budget):
        for left in _run(node.left, value, variables, budget):
            yield _result(node.operator, left, right, budget)


def _result(operator: str, left: JsonValue, right: JsonValue, budget: Budget) -> JsonValue:
    if operator in "+-*/%":
        return calculate(operator, left, right, budget)
    if operator in ("==", "!="):
        return are_equal(left, right, budget) == (operator == "==")
    first, second = sort_key(left, budget), sort_key(right, budget)
    if operator[0] == "<":
        return bool(first < second or (operator == "<=" and first == second))
    return bool(first > second or (operator == ">=" and first == second))


def _negation(
    node: syntax.Negation, value: JsonValue, variables: Variables, budget: Budget
) -> Iterator[JsonValue]:
    for operand in _run(node.operand, value, variables, budget):
        if not is_number(operand):
            raise ExpressionError(f"{shown(operand)} cannot be negated")
        yield number(-operand)


def _condition(
    node: syntax.Condition, value: JsonValue, variables: Variables, budget: Budget
) -> Iterator[JsonValue]:
    for test in _run(node.test, value, variables, budget):
        yield from _run(node.yes if is_true(test) else node.no, value, variables, budget)


def _array(
    node: syntax.Array, value: JsonValue, variables: Variables, budget: Budget
) -> Iterator[JsonValue]:
    result: list[JsonValue] = []
    if node.items is not None:
        for each in _run(node.items, value, variables, budget):
            budget.write(1)
            result.append(each)
    yield result


def _object(
    node: syntax.Object, value: JsonValue, variables: Variables, budget: Budget
) -> Iterator[JsonValue]:
    yield from _objects(node.entries, {}, value, variables, budget)


def _objects(
    entries: tuple[tuple[syntax.Node, syntax.Node], ...],
    start: dict[str, JsonValue],
    value: JsonValue,
    variables: Variables,
    budget: Budget,
) -> Iterator[JsonValue]:
    """Yield one object for each combination of the values of keys and entries."""
    objects = [start]
    for key_node, value_node in entries:
        keys = list(_run(key_node, value, variables, budget))
        values = list(_run(value_node, value, variables, budget)) if keys else []
        if not values:
            return
        for key in keys:
            if not isinstance(key, str):
                raise ExpressionError(f"the key of an object is {shown(key)}, not a string")
        budget.write(sum(map(len, objects)) * len(keys) * len(values) + len(entries))
        objects = [{**each, str(key): item} for each in objects for key in keys for item in values]
    yield from objects


def _call(
    node: syntax.Call, value: JsonValue, variables: Variables, budget: Budget
) -> Iterator[JsonValue]:
    def filter_of(argument: syntax.Node) -> Filter:
        return lambda each: _run(argument, each, variables, budget)

    arguments = tuple(map(filter_of, node.arguments))
    return FUNCTIONS[node.name, len(arguments)](value, arguments, budget)


_EVALUATIONS: dict[type[syntax.Node], Callable[..., Iterator[JsonValue]]] = {
    syntax.Identity: _identity,
    syntax.Literal: _literal,
    syntax.Text: _text,
    syntax.Variable: _variable,
    syntax.Index: _index,
    syntax.Slice: _slice,
    syntax.Each: _each,
    syntax.Try: _try,
    syntax.Pipe: _pipe,
    syntax.Binding: _binding,
    syntax.Comma: _comma,
    syntax.Alternative: _alternative,
    syntax.Logic: _logic,
    syntax.Binary: _binary,
    syntax.Negation: _negation,
    syntax.Condition: _condition,
    syntax.Array: _array,
    syntax.Object: _object,
    syntax.Call: _call,
}

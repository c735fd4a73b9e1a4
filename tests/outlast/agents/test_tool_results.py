"""Results of tools: text that everybody can read, or an error to act on."""

import itertools
import math
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

import pytest

from outlast import ToolError
from outlast.errors import ToolFailed
from tests.outlast.agents.tool_types import Cents, Pair, Rank, Shape, Text, make


def cyclic() -> Any:
    value: list[Any] = []
    value.append(value)
    return value


def bomb() -> Any:
    value: Any = [1]
    for _ in range(60):
        value = [value, value]
    return value


def cyclic_twice() -> Any:
    value: list[Any] = []
    value += [value, value, {"a": value}]
    return value


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


REPLACED: list[tuple[Any, Any, str]] = [
    (str, "caf\udce9.txt", '"caf\ufffd.txt"'),
    (list[str], ["\udce9"], '["\ufffd"]'),
    (dict[str, str], {"\udce9": "\ud83d\ude00"}, '{"\ufffd":"\U0001f600"}'),
    (Any, {"a": ("\udce9",)}, '{"a":["\ufffd"]}'),
    (tuple[str, int], ("\udce9", 1), '["\ufffd",1]'),
    (frozenset[str], frozenset({"\udce9"}), '["\ufffd"]'),
    (Text, Text.model_construct(text="\udce9"), '{"text":"\ufffd"}'),
    (Shape, {"side": 1}, '{"side":1}'),
    (Pair, Pair(1, 2), "[1,2]"),
    (set[int], {1}, "[1]"),
    (bytes, b"text", '"text"'),
    (Any, None, "null"),
    (Decimal, Decimal("1.50"), '"1.50"'),
    (Rank, Rank.LOW, "1"),
    (Cents, Cents.ONE, '"0.01"'),
    (list[Any], nested(100), "[" * 100 + "1" + "]" * 100),
    (int, 10**999, str(10**999)),
    (Any, map(str, [1, 2]), '["1","2"]'),
    (Iterable[str], (text for text in ["\udce9"]), '["\ufffd"]'),
    (list[int], iter({1: 0}), "[1]"),
    (Sequence[int], range(3), "[0,1,2]"),
    (Any, {"rows": zip([1], [2], strict=True)}, '{"rows":[[1,2]]}'),
]


@pytest.mark.parametrize(
    ("annotation", "value", "encoded"), REPLACED, ids=map(str, range(len(REPLACED)))
)
async def test_a_result_is_text_that_everybody_can_read(
    annotation: Any, value: Any, encoded: str
) -> None:
    assert (await make(_returning(annotation, value)).invoke({})).decode() == encoded


REFUSED: list[tuple[Any, Any, type[Exception], str]] = [
    (float, math.nan, ToolError, "act returned the number nan, which JSON does not have"),
    (Any, math.inf, ToolError, "the number inf"),
    (list[float], [1.0, -math.inf], ToolError, "the number -inf"),
    (dict[str, Any], {"a": math.nan}, ToolError, "the number nan"),
    (int, 10**1000, ToolError, "a number of more than 1,000 digits"),
    (int, 10**5000, ToolError, "a number of more than 1,000 digits"),
    (Any, nested(101), ToolError, "JSON that is nested deeper than 100 levels"),
    (Any, nested(500), ToolFailed, "cannot be written as JSON"),
    (Any, nested(100_000), ToolFailed, "cannot be written as JSON"),
    (list[Any], cyclic(), ToolFailed, "cannot be written as JSON: Circular reference"),
    (list[Any], cyclic_twice(), ToolFailed, "cannot be written as JSON: Circular reference"),
    (Any, bomb(), ToolError, "act returned more than 256,000 values: ask for less"),
    (Any, itertools.count(), ToolError, "act returned more than 256,000 values: ask for less"),
    (Iterable[int], iter(int, 1), ToolError, "more than 256,000 values"),
    (Iterable[int], range(10**12), ToolError, "more than 256,000 values"),
    (Sequence[int], range(10**12), ToolError, "more than 256,000 values"),
    (Any, {"rows": [itertools.repeat("x")]}, ToolError, "more than 256,000 values"),
    (bytes, b"\xff", ToolFailed, "cannot be written as JSON"),
    (Any, object(), ToolFailed, "cannot be written as JSON"),
    (Any, open, ToolFailed, "cannot be written as JSON"),
    (str, 5, ToolFailed, "the result does not match its type"),
    (str, b"\xff", ToolFailed, "the result does not match its type"),
    (list[int], ["\udce9"], ToolFailed, "the result does not match its type"),
    (str, "x" * 300_000, ToolError, "300,002 bytes; at most 256,000 are allowed"),
    (str, "x" * 20_000_000, ToolError, "at most 256,000 are allowed"),
]


@pytest.mark.parametrize(
    ("annotation", "value", "kind", "reason"), REFUSED, ids=map(str, range(len(REFUSED)))
)
async def test_a_result_that_cannot_be_carried_is_an_error_to_act_on(
    annotation: Any, value: Any, kind: type[Exception], reason: str
) -> None:
    with pytest.raises(kind, match=reason):
        await make(_returning(annotation, value)).invoke({})
    happened = await make(_returning(annotation, value), effect="write").invoke({})
    assert happened.startswith(b'{"happened":true,"error":"')


def _returning(annotation: Any, value: Any) -> Any:
    def act() -> Any:
        return value

    act.__annotations__["return"] = annotation
    return act

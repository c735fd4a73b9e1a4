"""The functions of expressions, by name and number of arguments. All of them are pure and bounded.

A function gets its input, its arguments as filters, and the budget, and yields its values. A filter turns
a value into a stream of values.
"""

import math
from collections.abc import Callable
from functools import partial

from pydantic import JsonValue

from outlast.pipelines.jq.arithmetic import calculate
from outlast.pipelines.jq.array_functions import (
    distinct,
    flattened,
    flattened_fully,
    greatest,
    grouped,
    in_order,
    index_of,
    least,
    quantified,
    reversed_array,
    sorting,
)
from outlast.pipelines.jq.budget import Budget, ExpressionError
from outlast.pipelines.jq.function_types import (
    Function,
    items_of,
    number_from,
    of_argument,
    of_value,
)
from outlast.pipelines.jq.object_functions import (
    from_entries,
    has_key,
    is_key_in,
    keys_of,
    to_entries,
    with_entries,
)
from outlast.pipelines.jq.stream_functions import (
    counted_range,
    first,
    last,
    limited,
    mapped,
    mapped_values,
    nothing,
    raised,
    selected,
    selecting,
)
from outlast.pipelines.jq.text_functions import (
    LOWER,
    UPPER,
    WHITE,
    as_json,
    changed_text,
    ends_with,
    joined,
    parsed_json,
    split_text,
    starts_with,
    to_number,
    to_text,
    without_prefix,
    without_suffix,
)
from outlast.pipelines.jq.values import (
    contains,
    is_true,
    number,
    shown,
    type_of,
)


def _length(value: JsonValue, budget: Budget) -> JsonValue:
    del budget
    if value is None:
        return 0
    if isinstance(value, bool):
        raise ExpressionError(f"{shown(value)} has no length")
    return abs(value) if isinstance(value, int | float) else len(value)


def _add(value: JsonValue, budget: Budget) -> JsonValue:
    values = list(value.values()) if isinstance(value, dict) else items_of("add", value, budget)
    total: JsonValue = None
    if values and all(isinstance(each, str) for each in values):
        budget.write(sum(len(str(each)) for each in values))
        return "".join(map(str, values))
    if values and all(isinstance(each, list) for each in values):
        budget.write(sum(len(each) for each in values if isinstance(each, list)))
        return [item for each in values if isinstance(each, list) for item in each]
    for each in values:
        total = calculate("+", total, each, budget)
    return total


def _rounded(name: str, rounding: Callable[[float], float]) -> Function:
    return of_value(lambda value, _: number(rounding(number_from(name, value))))


def _round(value: float) -> float:
    return math.floor(abs(value) + 0.5) * (1 if value >= 0 else -1)


def _contains(value: JsonValue, part: JsonValue, budget: Budget) -> JsonValue:
    return contains(value, part, budget)


def _inside(value: JsonValue, whole: JsonValue, budget: Budget) -> JsonValue:
    return contains(whole, value, budget)


FUNCTIONS: dict[tuple[str, int], Function] = {
    ("length", 0): of_value(_length),
    ("keys", 0): of_value(keys_of),
    ("keys_unsorted", 0): of_value(partial(keys_of, is_sorted=False)),
    ("has", 1): of_argument(has_key),
    ("in", 1): of_argument(is_key_in),
    ("contains", 1): of_argument(_contains),
    ("inside", 1): of_argument(_inside),
    ("index", 1): of_argument(index_of),
    ("add", 0): of_value(_add),
    ("not", 0): of_value(lambda value, _: not is_true(value)),
    ("type", 0): of_value(lambda value, _: type_of(value)),
    ("tostring", 0): of_value(to_text),
    ("tonumber", 0): of_value(to_number),
    ("tojson", 0): of_value(as_json),
    ("fromjson", 0): of_value(parsed_json),
    ("join", 1): of_argument(joined),
    ("split", 1): of_argument(split_text),
    ("ascii_downcase", 0): changed_text("ascii_downcase", lambda text: text.translate(LOWER)),
    ("ascii_upcase", 0): changed_text("ascii_upcase", lambda text: text.translate(UPPER)),
    ("trim", 0): changed_text("trim", lambda text: text.strip(WHITE)),
    ("ltrim", 0): changed_text("ltrim", lambda text: text.lstrip(WHITE)),
    ("rtrim", 0): changed_text("rtrim", lambda text: text.rstrip(WHITE)),
    ("startswith", 1): of_argument(starts_with),
    ("endswith", 1): of_argument(ends_with),
    ("ltrimstr", 1): of_argument(without_prefix),
    ("rtrimstr", 1): of_argument(without_suffix),
    ("floor", 0): _rounded("floor", math.floor),
    ("ceil", 0): _rounded("ceil", math.ceil),
    ("round", 0): _rounded("round", _round),
    ("abs", 0): _rounded("abs", abs),
    ("reverse", 0): of_value(reversed_array),
    ("flatten", 0): of_value(flattened_fully),
    ("flatten", 1): of_argument(flattened),
    ("to_entries", 0): of_value(to_entries),
    ("from_entries", 0): of_value(from_entries),
    ("with_entries", 1): with_entries,
    ("map", 1): mapped,
    ("map_values", 1): mapped_values,
    ("select", 1): selected,
    ("empty", 0): nothing,
    ("error", 0): raised,
    ("error", 1): raised,
    ("any", 0): quantified(wanted=True, items=None, condition=None),
    ("any", 1): quantified(wanted=True, items=None, condition=0),
    ("any", 2): quantified(wanted=True, items=0, condition=1),
    ("all", 0): quantified(wanted=False, items=None, condition=None),
    ("all", 1): quantified(wanted=False, items=None, condition=0),
    ("all", 2): quantified(wanted=False, items=0, condition=1),
    ("sort", 0): sorting("sort", in_order),
    ("sort_by", 1): sorting("sort_by", in_order),
    ("group_by", 1): sorting("group_by", grouped),
    ("unique", 0): sorting("unique", distinct),
    ("unique_by", 1): sorting("unique_by", distinct),
    ("min", 0): sorting("min", least),
    ("min_by", 1): sorting("min_by", least),
    ("max", 0): sorting("max", greatest),
    ("max_by", 1): sorting("max_by", greatest),
    ("range", 1): counted_range,
    ("range", 2): counted_range,
    ("range", 3): counted_range,
    ("first", 0): first,
    ("first", 1): first,
    ("last", 0): last,
    ("last", 1): last,
    ("limit", 2): limited,
    ("values", 0): selecting("boolean", "number", "string", "array", "object"),
    ("nulls", 0): selecting("null"),
    ("booleans", 0): selecting("boolean"),
    ("numbers", 0): selecting("number"),
    ("strings", 0): selecting("string"),
    ("arrays", 0): selecting("array"),
    ("objects", 0): selecting("object"),
    ("iterables", 0): selecting("array", "object"),
    ("scalars", 0): selecting("null", "boolean", "number", "string"),
}

"""Functions on texts and numbers."""

import re
from collections.abc import Callable

from pydantic import JsonValue

from outlast.pipelines.jq.arithmetic import calculate
from outlast.pipelines.jq.budget import Budget, ExpressionError
from outlast.pipelines.jq.function_types import (
    Function,
    items_of,
    number_from,
    of_value,
    text_from,
    unexpected,
)
from outlast.pipelines.jq.values import (
    charge_json,
    number,
    shown,
    text_of,
)
from outlast.text.json_text import from_json, to_json

_NUMBER = re.compile(r"-?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


_MAX_NUMBER_CHARACTERS = 100


def joined(value: JsonValue, separator: JsonValue, budget: Budget) -> JsonValue:
    """Return the result of `join(separator)`."""
    items = list(value.values()) if isinstance(value, dict) else items_of("join", value, budget)
    between = text_from("join", separator)
    parts: list[str] = []
    for each in items:
        if isinstance(each, list | dict):
            raise unexpected("join", "strings and numbers", each)
        parts.append("" if each is None else text_of(each, budget))
    budget.write(sum(map(len, parts)) + len(between) * len(parts))
    return between.join(parts)


def split_text(value: JsonValue, separator: JsonValue, budget: Budget) -> JsonValue:
    """Return the result of `split(separator)`."""
    return calculate("/", text_from("split", value), text_from("split", separator), budget)


def to_number(value: JsonValue, budget: Budget) -> JsonValue:
    """Return the result of `tonumber`."""
    del budget
    if isinstance(value, str):
        if len(value) > _MAX_NUMBER_CHARACTERS or not _NUMBER.fullmatch(value):
            raise ExpressionError(f"tonumber: {shown(value)} is not a number")
        return number(int(value) if value.lstrip("-").isdecimal() else float(value))
    return number(number_from("tonumber", value))


def to_text(value: JsonValue, budget: Budget) -> JsonValue:
    """Return the result of `tostring`."""
    return text_of(value, budget)


def as_json(value: JsonValue, budget: Budget) -> JsonValue:
    """Return the result of `tojson`."""
    charge_json(value, budget)
    return to_json(value)


def parsed_json(value: JsonValue, budget: Budget) -> JsonValue:
    """Return the result of `fromjson`."""
    text = text_from("fromjson", value)
    budget.write(len(text))
    try:
        return from_json(text)
    except ValueError as error:
        raise ExpressionError(f"fromjson: not JSON ({error})") from None


def changed_text(name: str, change: Callable[[str], str]) -> Function:
    """Return a function that changes a text, and does not make it longer."""

    def changed(value: JsonValue, budget: Budget) -> JsonValue:
        text = text_from(name, value)
        budget.write(len(text))
        return change(text)

    return of_value(changed)


UPPER = str.maketrans("abcdefghijklmnopqrstuvwxyz", "ABCDEFGHIJKLMNOPQRSTUVWXYZ")


LOWER = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz")


WHITE = " \t\n\r\f\v"


def starts_with(value: JsonValue, prefix: JsonValue, budget: Budget) -> JsonValue:
    """Return the result of `startswith(prefix)`."""
    del budget
    return text_from("startswith", value).startswith(text_from("startswith", prefix))


def ends_with(value: JsonValue, suffix: JsonValue, budget: Budget) -> JsonValue:
    """Return the result of `endswith(suffix)`."""
    del budget
    return text_from("endswith", value).endswith(text_from("endswith", suffix))


def without_prefix(value: JsonValue, prefix: JsonValue, budget: Budget) -> JsonValue:
    """Return the result of `ltrimstr(prefix)`."""
    text, start = text_from("ltrimstr", value), text_from("ltrimstr", prefix)
    budget.write(len(text))
    return text.removeprefix(start)


def without_suffix(value: JsonValue, suffix: JsonValue, budget: Budget) -> JsonValue:
    """Return the result of `rtrimstr(suffix)`."""
    text, end = text_from("rtrimstr", value), text_from("rtrimstr", suffix)
    budget.write(len(text))
    return text.removesuffix(end)

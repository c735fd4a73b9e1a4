"""JSON values from other people's code: checked for what histories, workers and models cannot carry."""

import io
import math
from collections.abc import Callable, Iterator
from typing import Any

from pydantic import JsonValue

from outlast.text.error_text import clean_text

MAX_RESULT_DEPTH = 100
"""Nesting of a tool result: the parsers that read it later allow 200 levels, with what is around it."""

MAX_NUMBER_DIGITS = 1_000
"""Digits of a whole number in a tool result. Python itself refuses to read more than 4,300."""

MAX_RESULT_VALUES = 256_000
"""Values in a tool result: each takes a byte of JSON at least."""

_MAX_NUMBER = 10**MAX_NUMBER_DIGITS


def carried(value: JsonValue, depth: int = 0) -> JsonValue:
    """Return a copy whose text UTF-8 can carry; raises `ValueError` for what JSON or its readers cannot."""
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"the number {value}, which JSON does not have")
    if isinstance(value, int) and not -_MAX_NUMBER < value < _MAX_NUMBER:
        raise ValueError(f"a number of more than {MAX_NUMBER_DIGITS:,} digits")
    if not isinstance(value, dict | list):
        return value
    if depth >= MAX_RESULT_DEPTH:
        raise ValueError(f"JSON that is nested deeper than {MAX_RESULT_DEPTH} levels")
    if isinstance(value, dict):
        return {_key(name): carried(item, depth + 1) for name, item in value.items()}
    return [carried(item, depth + 1) for item in value]


def _key(name: object) -> str:
    if not isinstance(name, str):
        raise ValueError(f"a key that is {type(name).__name__}, and not text")
    return clean_text(name)


def with_clean_text(value: Any) -> Any:
    """Return a Python value with `clean_text` in its lists, tuples, sets, dictionaries and iterators.

    Raises `ValueError` for more values than a result can hold, such as lists that hold each other twice.
    """
    return _Cleaner().cleaned(value, ())


class _Cleaner:
    def __init__(self) -> None:
        self._values = 0

    def cleaned(self, value: Any, parents: tuple[int, ...]) -> Any:
        self._values += 1
        if self._values > MAX_RESULT_VALUES:
            raise ValueError(f"more than {MAX_RESULT_VALUES:,} values")
        if type(value) is str:
            return clean_text(value)
        if len(parents) >= MAX_RESULT_DEPTH or id(value) in parents:
            return value  # its encoding fails later, with the reason
        inside = (*parents, id(value))
        if type(value) is dict:
            return {
                self.cleaned(name, inside): self.cleaned(item, inside)
                for name, item in value.items()
            }
        make = _maker_of(value)
        return make([self.cleaned(item, inside) for item in value]) if make else value


def _maker_of(value: Any) -> Callable[[list[Any]], Any] | None:
    """Return what makes a value of the same kind from its items, or None if it is not a collection."""
    kind = type(value)
    if kind in (list, tuple, set, frozenset):
        return kind
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return lambda items: kind(*items)
    # The encoder would read an endless iterator in C, where nothing else of the process runs.
    if isinstance(value, range):
        return list
    return iter if isinstance(value, Iterator) and not isinstance(value, io.IOBase) else None

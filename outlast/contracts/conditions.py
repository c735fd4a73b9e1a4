"""Conditions: when a call needs a person, as data that is pinned with the tool.

    Approval(audience="support-leads", when=arguments.amount_usd > 50)

A condition is written with Python's comparisons and joined with `&`, `|` and `~`. What cannot be told, for
the argument is absent or of another type, counts as holding: then a person looks.
"""

import operator
from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, Literal, NoReturn

from pydantic import JsonValue, model_validator

from outlast.contracts.base import WireModel
from outlast.texts import hint

Comparison = Literal["<", "<=", ">", ">=", "==", "!=", "in"]

_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}


class Condition(WireModel):
    """A comparison of one argument (`path`) with a value, or other conditions joined."""

    op: Literal["<", "<=", ">", ">=", "==", "!=", "in", "and", "or", "not"]
    path: tuple[str, ...] = ()
    value: JsonValue = None
    parts: tuple["Condition", ...] = ()

    @model_validator(mode="after")
    def _is_whole(self) -> "Condition":
        joins = self.op in ("and", "or", "not")
        if joins != bool(self.parts) or (self.op == "not" and len(self.parts) != 1):
            raise ValueError("'and' and 'or' join parts, 'not' has one, and comparisons have none")
        if joins == bool(self.path):
            raise ValueError("a comparison, and no other condition, has the path of an argument")
        if self.op == "in" and not isinstance(self.value, list):
            raise ValueError("'in' compares with a list of values")
        return self

    def misfit(self, parameters: Mapping[str, JsonValue]) -> str | None:
        """Return why it can never be told of arguments of this schema, or None."""
        if self.parts:
            return next(filter(None, (part.misfit(parameters) for part in self.parts)), None)
        node: Any = parameters
        for name in self.path:
            known = node.get("properties")
            if not isinstance(known, Mapping):
                return None
            if name not in known:
                return f"there is no argument {'.'.join(self.path)!r}; {hint(name, known)}"
            node = _resolved(known[name], parameters)
        if self.op in _ORDERS and isinstance(self.value, str) and _is_numeric(node):
            return (
                f"{'.'.join(self.path)!r} is a number, and is compared with the text {self.value!r}"
            )
        return None

    def holds(self, arguments: Mapping[str, JsonValue]) -> bool:
        """Tell whether it holds for the arguments of a call, or cannot be told."""
        return self._told(arguments) is not False

    def _told(self, arguments: Mapping[str, JsonValue]) -> bool | None:
        if not self.parts:
            found = _found(arguments, self.path)
            if found is _ABSENT:
                return None
            if self.op == "in" and isinstance(self.value, list):
                return _one_of(found, self.value)
            return _compared(self.op, found, self.value)
        told = [part._told(arguments) for part in self.parts]
        if self.op == "not":
            return None if told[0] is None else not told[0]
        decisive = self.op == "or"
        if decisive in told:
            return decisive
        return None if None in told else not decisive

    def __and__(self, other: "Condition") -> "Condition":
        """Return the condition that holds where both do."""
        return Condition(op="and", parts=(self, other))

    def __or__(self, other: "Condition") -> "Condition":
        """Return the condition that holds where either does."""
        return Condition(op="or", parts=(self, other))

    def __invert__(self) -> "Condition":
        """Return the condition that holds where this one does not."""
        return Condition(op="not", parts=(self,))

    def __bool__(self) -> NoReturn:
        """Refuse `and`, `or` and `not`, which would drop a part of the condition."""
        raise TypeError("join conditions with &, | and ~, and put each in parentheses")


_ABSENT = object()

_ORDERS = ("<", "<=", ">", ">=")


def _resolved(node: Any, root: Mapping[str, JsonValue]) -> Mapping[str, Any]:
    """Return a node of a schema, or what it refers to; `{}` for what says nothing."""
    definitions = root.get("$defs")
    if isinstance(node, Mapping) and "$ref" in node and isinstance(definitions, Mapping):
        node = definitions.get(str(node["$ref"]).rpartition("/")[2])
    return node if isinstance(node, Mapping) else {}


def _is_numeric(node: Mapping[str, Any]) -> bool:
    options = node.get("anyOf", [node])
    return any(option.get("type") in ("number", "integer") for option in options)


def _found(arguments: Mapping[str, JsonValue], path: tuple[str, ...]) -> Any:
    found: Any = arguments
    for name in path:
        if not isinstance(found, Mapping) or name not in found:
            return _ABSENT
        found = found[name]
    return found


def _one_of(found: Any, values: list[JsonValue]) -> bool | None:
    told = [_compared("==", found, value) for value in values]
    if True in told:
        return True
    return None if told and False not in told else False


def _compared(op: str, found: Any, value: Any) -> bool | None:
    if _kind(value) is Decimal and isinstance(found, str):
        # A Decimal is written as text.
        try:
            # What is written is compared, not the nearest float to it.
            found, value = Decimal(found), Decimal(str(value))
        except InvalidOperation:
            return None
        if found.is_nan():
            return None
    if value is not None and _kind(found) is not _kind(value):
        return None
    try:
        return bool(_COMPARISONS[op](found, value))
    except TypeError:
        return None


def _kind(value: Any) -> type:
    """Return the type of a JSON value, where a number is a number and no truth value."""
    is_number = isinstance(value, int | float | Decimal) and not isinstance(value, bool)
    return Decimal if is_number else type(value)


class Argument:
    """An argument of a call, by its name; attributes are fields of it. Comparing it is a `Condition`."""

    __hash__ = None  # type: ignore[assignment]  # comparing it says nothing of equality

    def __init__(self, *path: str) -> None:
        self._path = path

    def __getattr__(self, name: str) -> "Argument":
        """Return the field of that name."""
        if name.startswith("__"):
            raise AttributeError(name)
        return self[name]

    def __getitem__(self, name: str) -> "Argument":
        """Return the field of that name, for names that Python has no attribute for."""
        return Argument(*self._path, name)

    def __lt__(self, value: float | str) -> Condition:
        """Return the condition that it is less."""
        return self._condition("<", value)

    def __le__(self, value: float | str) -> Condition:
        """Return the condition that it is no more."""
        return self._condition("<=", value)

    def __gt__(self, value: float | str) -> Condition:
        """Return the condition that it is more."""
        return self._condition(">", value)

    def __ge__(self, value: float | str) -> Condition:
        """Return the condition that it is no less."""
        return self._condition(">=", value)

    def __eq__(self, value: JsonValue) -> Condition:  # type: ignore[override]  # it compares later
        """Return the condition that it is the same."""
        return self._condition("==", value)

    def __ne__(self, value: JsonValue) -> Condition:  # type: ignore[override]  # it compares later
        """Return the condition that it is another."""
        return self._condition("!=", value)

    def is_in(self, *values: JsonValue) -> Condition:
        """Return the condition that it is one of the values."""
        return self._condition("in", list(values))

    def _condition(self, op: Comparison, value: JsonValue) -> Condition:
        if not self._path:
            raise TypeError("compare one of the arguments: arguments.amount_usd > 50")
        return Condition(op=op, path=self._path, value=value)


arguments = Argument()
"""The arguments of the call: `arguments.amount_usd > 50`."""

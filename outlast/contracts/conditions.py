"""Conditions: which calls of a tool need approval, as data that is recorded with the tool.

    Approval(audience="support-leads", when=arguments.amount_usd > 50)

Write a condition with Python's comparisons, and join conditions with `&`, `|` and `~`. A condition that
cannot be evaluated, because an argument is missing or has another type, requires approval.
"""

import operator
from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, Literal, NoReturn

from pydantic import Field, JsonValue, model_validator

from outlast.contracts.base import WireModel
from outlast.contracts.bounds import MAX_ID_CHARACTERS, JsonBounds
from outlast.text.hints import hint

Comparison = Literal["<", "<=", ">", ">=", "==", "!=", "in"]

MAX_CONDITION_DEPTH = 32
"""Conditions inside of each other, and names in a path: the parsers of JSON limit nesting."""

MAX_CONDITION_PARTS = 256
"""Comparisons and joins of a condition: each call of the tool evaluates them all."""

MAX_CONDITION_BYTES = 16_000
"""Size of the value that an argument is compared with, as JSON. Each run carries it."""

_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}


class Condition(WireModel):
    """A comparison of one argument (`path`) with a value, or several conditions joined."""

    op: Literal["<", "<=", ">", ">=", "==", "!=", "in", "and", "or", "not"]
    path: tuple[Annotated[str, Field(max_length=MAX_ID_CHARACTERS)], ...] = Field(
        default=(), max_length=MAX_CONDITION_DEPTH
    )
    value: Annotated[JsonValue, JsonBounds(MAX_CONDITION_BYTES, MAX_CONDITION_DEPTH)] = None
    parts: tuple["Condition", ...] = Field(default=(), max_length=MAX_CONDITION_PARTS)

    @model_validator(mode="after")
    def _is_whole(self) -> "Condition":
        joins = self.op in ("and", "or", "not")
        if joins != bool(self.parts) or (self.op == "not" and len(self.parts) != 1):
            raise ValueError(
                "'and' and 'or' need 'parts', 'not' needs one part, and a comparison has none"
            )
        if joins == bool(self.path):
            raise ValueError(
                "a comparison needs 'path', an argument's path; 'and', 'or' and 'not' have none"
            )
        if self.op == "in" and not isinstance(self.value, list):
            raise ValueError("'in' needs a list of values")
        self._check_size()
        return self

    def _check_size(self) -> None:
        layer, count = [self], 1
        for _ in range(MAX_CONDITION_DEPTH):
            layer = [part for condition in layer for part in condition.parts]
            count += len(layer)
        if layer or count > MAX_CONDITION_PARTS:
            raise ValueError(
                f"a condition may have {MAX_CONDITION_PARTS} parts, and {MAX_CONDITION_DEPTH} levels"
            )

    def mismatch(self, parameters: Mapping[str, JsonValue]) -> str | None:
        """Return why arguments with this schema can never be evaluated, or None if they can."""
        if self.parts:
            return next(filter(None, (part.mismatch(parameters) for part in self.parts)), None)
        node: Any = parameters
        for name in self.path:
            properties = node.get("properties")
            if not isinstance(properties, Mapping):
                return None
            if name not in properties:
                return f"there is no argument {'.'.join(self.path)!r}; {hint(name, properties)}"
            node = _dereference(properties[name], parameters)
        if self.op in _ORDERS and isinstance(self.value, str) and _is_numeric(node):
            return f"{'.'.join(self.path)!r} is a number; it cannot be compared with text ({self.value!r})"
        return None

    def holds(self, arguments: Mapping[str, JsonValue]) -> bool:
        """Return whether the condition is true for the arguments of a call, or cannot be evaluated."""
        return self._evaluate(arguments) is not False

    def _evaluate(self, arguments: Mapping[str, JsonValue]) -> bool | None:
        """Return the value in three-valued logic: None if it is unknown."""
        if not self.parts:
            argument = _value_at(self.path, arguments)
            if argument is _MISSING:
                return None
            if self.op == "in" and isinstance(self.value, list):
                return _is_among(argument, self.value)
            return _compare(self.op, argument, self.value)
        values = [part._evaluate(arguments) for part in self.parts]
        if self.op == "not":
            return None if values[0] is None else not values[0]
        decisive = self.op == "or"
        if decisive in values:
            return decisive
        return None if None in values else not decisive

    def __and__(self, other: "Condition") -> "Condition":
        """Return the condition that both are true."""
        return _joined("and", self, other)

    def __or__(self, other: "Condition") -> "Condition":
        """Return the condition that at least one is true."""
        return _joined("or", self, other)

    def __invert__(self) -> "Condition":
        """Return the condition that this one is false."""
        return Condition(op="not", parts=(self,))

    def __bool__(self) -> NoReturn:
        """Reject `and`, `or` and `not`, which would lose a part of the condition."""
        raise TypeError("join conditions with &, | and ~, and put each in parentheses")


def _joined(op: Literal["and", "or"], *conditions: Condition) -> Condition:
    """Join conditions. A chain of one operator is one level, however long it is."""
    parts = [part for each in conditions for part in (each.parts if each.op == op else (each,))]
    return Condition(op=op, parts=tuple(parts))


_MISSING = object()

_ORDERS = ("<", "<=", ">", ">=")


def _dereference(node: Any, root: Mapping[str, JsonValue]) -> Mapping[str, Any]:
    """Return a schema, or the schema that it refers to; `{}` for `true` and unknown references."""
    definitions = root.get("$defs")
    if isinstance(node, Mapping) and "$ref" in node and isinstance(definitions, Mapping):
        node = definitions.get(str(node["$ref"]).rpartition("/")[2])
    return node if isinstance(node, Mapping) else {}


def _is_numeric(node: Mapping[str, Any]) -> bool:
    options = node.get("anyOf", [node])
    # An option can be `true`, which allows any value.
    known = (option.get("type") for option in options if isinstance(option, Mapping))
    return any(kind in ("number", "integer") for kind in known)


def _value_at(path: tuple[str, ...], arguments: Mapping[str, JsonValue]) -> Any:
    value: Any = arguments
    for name in path:
        if not isinstance(value, Mapping) or name not in value:
            return _MISSING
        value = value[name]
    return value


def _is_among(argument: Any, values: list[JsonValue]) -> bool | None:
    results = [_compare("==", argument, value) for value in values]
    if True in results:
        return True
    return None if results and False not in results else False


def _compare(op: str, argument: Any, value: Any) -> bool | None:
    if _kind(value) is Decimal and isinstance(argument, str):
        # Pydantic writes a Decimal as text. Compare the text itself, and not the nearest float.
        try:
            argument, value = Decimal(argument), Decimal(str(value))
        except InvalidOperation:
            return None
        if argument.is_nan():
            return None
    if value is not None and _kind(argument) is not _kind(value):
        return None
    try:
        return bool(_COMPARISONS[op](argument, value))
    except TypeError:
        return None


def _kind(value: Any) -> type:
    """Return the type of a JSON value: Decimal for all numbers, and bool is not a number."""
    is_number = isinstance(value, int | float | Decimal) and not isinstance(value, bool)
    return Decimal if is_number else type(value)


class Argument:
    """An argument of a call. Its attributes are its fields, and comparing it gives a `Condition`."""

    __hash__ = None  # type: ignore[assignment]  # == does not test equality

    def __init__(self, *path: str) -> None:
        self._path = path

    def __getattr__(self, name: str) -> "Argument":
        """Return the field with this name."""
        if name.startswith("__"):
            raise AttributeError(name)
        return self[name]

    def __getitem__(self, name: str) -> "Argument":
        """Return the field with this name, which need not be a Python identifier."""
        return Argument(*self._path, name)

    def __lt__(self, value: float | str) -> Condition:
        """Return the condition `argument < value`."""
        return self._condition("<", value)

    def __le__(self, value: float | str) -> Condition:
        """Return the condition `argument <= value`."""
        return self._condition("<=", value)

    def __gt__(self, value: float | str) -> Condition:
        """Return the condition `argument > value`."""
        return self._condition(">", value)

    def __ge__(self, value: float | str) -> Condition:
        """Return the condition `argument >= value`."""
        return self._condition(">=", value)

    def __eq__(self, value: JsonValue) -> Condition:  # type: ignore[override]  # it compares later
        """Return the condition `argument == value`."""
        return self._condition("==", value)

    def __ne__(self, value: JsonValue) -> Condition:  # type: ignore[override]  # it compares later
        """Return the condition `argument != value`."""
        return self._condition("!=", value)

    def is_in(self, *values: JsonValue) -> Condition:
        """Return the condition that the argument is one of the values."""
        return self._condition("in", list(values))

    def _condition(self, op: Comparison, value: JsonValue) -> Condition:
        if not self._path:
            raise TypeError("compare one of the arguments: arguments.amount_usd > 50")
        return Condition(op=op, path=self._path, value=value)


arguments = Argument()
"""The arguments of a call: `arguments.amount_usd > 50`."""

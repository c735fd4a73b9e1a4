"""Reading fields of a document: each reader returns a compiled value, or adds a problem with its place."""

import json
import re
from collections.abc import Collection, Mapping
from typing import Any

from pydantic import JsonValue

from outlast.contracts.bounds import MAX_INSTANT_S
from outlast.contracts.human import audience_problem
from outlast.contracts.names import NAME_PATTERN
from outlast.jsonschema.schema_checks import check_schema
from outlast.jsonschema.schemas import Schema
from outlast.pipelines.jq.tokens import SyntaxProblem
from outlast.pipelines.places import Problems, below
from outlast.pipelines.tasks import Duration
from outlast.pipelines.templates import Template, expression, template
from outlast.text.texts import cut

Object = Mapping[str, JsonValue]

NAME = re.compile(NAME_PATTERN)

_NOTHING = Template(None, {})
_ISO_DURATION = re.compile(
    r"P(?:(\d{1,9}(?:\.\d{1,9})?)W)?(?:(\d{1,9}(?:\.\d{1,9})?)D)?"
    r"(?:T(?=\d)(?:(\d{1,9}(?:\.\d{1,9})?)H)?(?:(\d{1,9}(?:\.\d{1,9})?)M)?(?:(\d{1,9}(?:\.\d{1,9})?)S)?)?",
    re.ASCII,
)
_ISO_SECONDS = (604_800, 86_400, 3_600, 60, 1)
_UNITS = {
    "days": 86_400.0,
    "hours": 3_600.0,
    "minutes": 60.0,
    "seconds": 1.0,
    "milliseconds": 0.001,
}

MAX_VALUE_SHOWN = 40
"""Bytes of a value in a message."""


def quoted(value: JsonValue) -> str:
    """Return a value for a message."""
    try:
        return cut(repr(value), MAX_VALUE_SHOWN)
    except (ValueError, RecursionError):
        return f"a {type(value).__name__}"


def array_hint(value: JsonValue) -> str:
    """Return how to write an array of named items, if the value is an object of them."""
    return "; write `- NAME: …` for each" if isinstance(value, dict) and value else ""


def seconds_of(value: JsonValue) -> float | None:
    """Return the seconds of a duration, or None if it is not one: an object, or text in ISO 8601."""
    if isinstance(value, str):
        match = _ISO_DURATION.fullmatch(value)
        if match is None or value in ("P", "PT"):
            return None
        found = zip(match.groups(), _ISO_SECONDS, strict=True)
        return sum(float(number) * unit for number, unit in found if number)
    if not isinstance(value, dict) or not value:
        return None
    total = 0.0
    for name, number in value.items():
        if name not in _UNITS or isinstance(number, bool) or not isinstance(number, int | float):
            return None
        if not 0 <= number <= MAX_INSTANT_S * 1_000:
            return None
        total += number * _UNITS[name]
    return total


class Fields:
    """The fields of one object of a document."""

    def __init__(self, problems: Problems, value: JsonValue, place: str, what: str) -> None:
        self.problems = problems
        self.place = place
        self._what = what
        self._read: set[str] = set()
        self.value: dict[str, JsonValue] = {}
        if isinstance(value, dict):
            self.value = value
        else:
            problems.add(place, f"{quoted(value)} is not an object; {what} is one")

    def __contains__(self, name: str) -> bool:
        """Tell whether a field is present."""
        return name in self.value

    def at(self, name: str) -> str:
        """Return the place of a field."""
        return below(self.place, name)

    def raw(self, name: str, *, required: bool = False) -> JsonValue:
        """Return a field as it is, or None without one."""
        self._read.add(name)
        if required and name not in self.value:
            self.problems.add(self.at(name), "is required")
        return self.value.get(name)

    def inner(self, name: str, what: str) -> "Fields | None":
        """Return the fields of an object, or None without one."""
        if name not in self.value:
            self._read.add(name)
            return None
        return Fields(self.problems, self.raw(name), self.at(name), what)

    def text(self, name: str, *, default: str = "", required: bool = False) -> str:
        """Return a text, or the default without one."""
        value = self.raw(name, required=required)
        if name not in self.value:
            return default
        if not isinstance(value, str) or not value:
            self.problems.add(self.at(name), f"{quoted(value)} is not a text; give one")
            return default
        return value

    def audience(self, *, default: str = "", required: bool = False) -> str:
        """Return the field `audience`, or the default without a valid one."""
        value = self.text("audience", default=default, required=required)
        problem = audience_problem(value) if value else None
        if problem is not None:
            self.problems.add(self.at("audience"), f"{quoted(value)} {problem}")
            return default
        return value

    def matching(self, name: str, pattern: re.Pattern[str], rule: str, default: str = "") -> str:
        """Return a required text of a pattern; `rule` says in words what is allowed."""
        value = self.text(name, default=default, required=not default)
        if value and not pattern.fullmatch(value):
            self.problems.add(self.at(name), f"{quoted(value)} is not valid; {rule}")
        return value

    def choice(self, name: str, known: Collection[str], *, default: str = "") -> str:
        """Return one of some words."""
        value = self.text(name, default=default, required=not default)
        if value and value not in known:
            self.problems.unknown(self.at(name), "value", value, known)
            return default
        return value

    def flag(self, name: str, *, default: bool) -> bool:
        """Return a boolean."""
        value = self.raw(name)
        if name in self.value and not isinstance(value, bool):
            self.problems.add(self.at(name), f"{quoted(value)} is not true or false")
        return value if isinstance(value, bool) else default

    def names(self, name: str, pattern: re.Pattern[str], rule: str) -> tuple[str, ...]:
        """Return an array of texts of a pattern."""
        value = self.raw(name)
        if name not in self.value:
            return ()
        if not isinstance(value, list):
            self.problems.add(self.at(name), f"{quoted(value)} is not an array of names")
            return ()
        for number, each in enumerate(value):
            if not isinstance(each, str) or not pattern.fullmatch(each):
                place = below(self.at(name), number)
                self.problems.add(place, f"{quoted(each)} is not valid; {rule}")
        return tuple(map(str, value))

    def count(self, name: str, *, most: int, default: int | None = None) -> int:
        """Return an integer from 1 to `most`."""
        value = self.raw(name, required=default is None)
        if name not in self.value:
            return default or 1
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
            self.problems.add(self.at(name), f"{quoted(value)} is not allowed; give 1 to {most:,}")
            return 1
        return value

    def seconds(self, name: str, *, default: float | None, least: float = 0) -> float | None:
        """Return a number of seconds."""
        value = self.raw(name)
        if name not in self.value:
            return default
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not least <= value <= MAX_INSTANT_S:  # type: ignore[operator]
            self.problems.add(
                self.at(name),
                f"{quoted(value)} is not allowed; give {least:g} to {MAX_INSTANT_S:,} s",
            )
            return default
        return float(value)  # type: ignore[arg-type]

    def expression(self, name: str, variables: Collection[str]) -> Template | None:
        """Return a text that is an expression, with or without `${ }`."""
        value = self.raw(name)
        if name not in self.value:
            return None
        if not isinstance(value, str):
            self.problems.add(self.at(name), f"{quoted(value)} is not an expression; give a text")
            return None
        return self._compiled(name, lambda: expression(value, variables))

    def shape(self, name: str, variables: Collection[str]) -> Template | None:
        """Return an expression, or an object with expressions in it, as in `output.as`."""
        if isinstance(self.value.get(name), dict):
            return self.template(name, variables)
        return self.expression(name, variables)

    def template(
        self, name: str, variables: Collection[str], *, required: bool = False
    ) -> Template:
        """Return JSON with expressions in it."""
        value = self.raw(name, required=required)
        return self._compiled(name, lambda: template(value, variables)) or _NOTHING

    def _compiled(self, name: str, compile_it: Any) -> Template | None:
        try:
            compiled: Template = compile_it()
        except SyntaxProblem as problem:
            self.problems.add(self.at(name), f"the expression is not valid: {problem}")
            return None
        return compiled

    def duration(
        self, name: str, variables: Collection[str], *, required: bool = False
    ) -> Duration | None:
        """Return a duration: an object, a text in ISO 8601, or an expression."""
        value = self.raw(name, required=required)
        if name not in self.value:
            return None
        if isinstance(value, str) and "${" in value:
            compiled = self.expression(name, variables)
            return None if compiled is None else Duration(expression=compiled)
        found = seconds_of(value)
        if found is None or found > MAX_INSTANT_S:
            self.problems.add(
                self.at(name),
                f"{quoted(value)} is not a duration of at most a year; give"
                ' {"minutes": 5} with days, hours, minutes, seconds or milliseconds, or "PT5M"',
            )
            return None
        return Duration(found)

    def schema(self, name: str) -> Schema | None:
        """Return a JSON Schema in `schema.document`."""
        fields = self.inner(name, "a schema")
        if fields is None:
            return None
        form = fields.text("format", default="json")
        if not form.startswith("json"):
            fields.problems.add(
                fields.at("format"), f"{quoted(form)} is not supported; give 'json'"
            )
        fields.reject("resource", "is not supported; give the schema itself as 'document'")
        document = fields.raw("document", required=True)
        fields.close()
        return self.checked_schema(document, fields.at("document"))

    def checked_schema(self, value: JsonValue, place: str) -> Schema | None:
        """Return a JSON Schema that can be checked."""
        if not isinstance(value, dict):
            self.problems.add(place, f"{quoted(value)} is not a JSON Schema; give an object")
            return None
        try:
            check_schema(value, "the schema")
        except ValueError as error:
            self.problems.add(place, str(error))
            return None
        return value

    def reject(self, name: str, reason: str) -> None:
        """Add a problem if a field is present."""
        if name in self.value:
            self._read.add(name)
            self.problems.add(self.at(name), reason)

    def close(self) -> None:
        """Add a problem for each field that was not read."""
        for name in self.value:
            if name not in self._read:
                self.problems.unknown(self.at(name), "field", name, sorted(self._read))


def size_of(value: JsonValue) -> int:
    """Return the size of a value as JSON."""
    return len(
        json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")
    )

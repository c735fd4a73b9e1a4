"""Evaluation of a value against a JSON Schema, in a bounded number of steps.

Each pair of a definition and a value is evaluated once, so references do not multiply the work. The number
of steps depends on the schema and the value alone: a replay counts the same.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from outlast.jsonschema.patterns import Matcher, pattern_of
from outlast_activities.policies.formats import FORMATS
from outlast_activities.policies.value_keys import type_of, value_key

MAX_STEPS = 1_000_000
"""Steps of one check. A step takes up to one microsecond, and the worker does nothing else meanwhile."""

MAX_EVALUATION_DEPTH = 280
"""Schemas inside of each other that are evaluated for one value. Python's own limit is 1,000 calls."""

MAX_MATCHERS = 256
"""Compiled patterns that one check keeps."""

_STEPS_PER_PATTERN = 100
_STEPS_PER_MATCH = 4
_BYTES_PER_STEP = 40
"""A pattern of this estimated size is compiled in about the time of a step."""

_CHARACTERS_PER_STEP = 50
"""A text of this length is read, or matched with one position of a pattern, in about the time of a step."""

Step = str | int


@dataclass(frozen=True)
class Problem:
    """What is wrong with a value; `path` leads to the wrong part."""

    message: Callable[[], str]
    path: tuple[Step, ...] = ()
    weak: bool = False
    """Whether the problem says only that no branch fits."""

    @property
    def rank(self) -> tuple[int, bool]:
        """The order of importance: problems of the whole value are the first ones."""
        return len(self.path), self.weak

    def below(self, step: Step) -> "Problem":
        """Return the same problem, seen from the value that contains this one at `step`."""
        return Problem(self.message, (step, *self.path), self.weak)


class CheckTooLarge(Exception):
    """The check of a value needs too many steps, or its schema too many levels."""


Keyword = Callable[["Evaluation", Any, Any, Mapping[str, Any]], Problem | None]


@dataclass
class Evaluation:
    """The evaluation of one value. Raises `CheckTooLarge`."""

    root: Mapping[str, Any]
    max_steps: int = MAX_STEPS
    _steps: int = 0
    _depth: int = 0
    _known: dict[tuple[int, int], Problem | None] = field(default_factory=dict)
    _enums: dict[int, frozenset[str]] = field(default_factory=dict)
    _patterns: dict[str, tuple[Matcher, int]] = field(default_factory=dict)
    _evaluated: dict[tuple[int, int], frozenset[Step]] = field(default_factory=dict)

    def spend(self, steps: int) -> None:
        """Count steps."""
        self._steps += steps
        if self._steps > self.max_steps:
            raise CheckTooLarge(f"the check takes more than {self.max_steps:,} steps; be shorter")

    def problem(self, schema: Any, value: Any) -> Problem | None:
        """Return the most important problem of a value, or None."""
        if schema is True or schema == {}:
            return None
        if schema is False:
            return Problem(lambda: f"False schema does not allow {shown(value)}")
        key = (id(schema), id(value))
        if key in self._known:
            return self._known[key]
        self.spend(2 + len(schema))
        self._depth += 1
        if self._depth > MAX_EVALUATION_DEPTH:
            raise CheckTooLarge(f"the schema nests deeper than {MAX_EVALUATION_DEPTH} here")
        best = _type(self, schema["type"], value, schema) if "type" in schema else None
        for keyword, argument in schema.items():
            if best is not None and best.rank == (0, False):
                break
            check = _KEYWORDS.get(keyword)
            found = check(self, argument, value, schema) if check else None
            if found is not None and (best is None or found.rank < best.rank):
                best = found
        self._depth -= 1
        self._known[key] = best
        return best

    def is_valid(self, schema: Any, value: Any) -> bool:
        """Return whether a value satisfies a schema."""
        return self.problem(schema, value) is None

    def target(self, reference: str) -> Any:
        """Return the schema of a canonical reference."""
        if reference == "#":
            return self.root
        return self.root.get("$defs", {}).get(reference.removeprefix("#/$defs/"), True)

    def matches(self, pattern: str, text: str) -> bool:
        """Return whether a pattern occurs in a text."""
        known = self._patterns.get(pattern)
        if known is None:
            parsed = pattern_of(pattern)
            self.spend(_STEPS_PER_PATTERN + parsed.size.bytes // _BYTES_PER_STEP)
            if len(self._patterns) >= MAX_MATCHERS:
                self._patterns.clear()
            known = (parsed.compiled(), parsed.size.positions)
            self._patterns[pattern] = known
        matcher, positions = known
        self.spend(_STEPS_PER_MATCH + positions * len(text) // _CHARACTERS_PER_STEP)
        return matcher.matches(text)

    def key(self, value: Any) -> str:
        """Return a text that two values share if JSON Schema calls them equal."""
        key = value_key(value, self.spend)
        self.spend(len(key) // _CHARACTERS_PER_STEP)
        return key

    def enum_keys(self, values: list[Any]) -> frozenset[str]:
        """Return the keys of the values of an `enum`."""
        known = self._enums.get(id(values))
        if known is None:
            known = frozenset(self.key(value) for value in values)
            self._enums[id(values)] = known
        return known

    def evaluated(self, schema: Any, value: Any) -> frozenset[Step]:
        """Return the names or places in a value that a schema evaluates, for `unevaluated…`."""
        if not isinstance(schema, dict):
            return frozenset()
        key = (id(schema), id(value))
        known = self._evaluated.get(key)
        if known is None:
            own = "unevaluatedItems" if isinstance(value, list) else "unevaluatedProperties"
            whole = own in schema and isinstance(value, list | dict)
            known = frozenset(_places(value)) if whole else self.evaluated_beside(schema, value)
            self._evaluated[key] = known
        return known

    def evaluated_beside(self, schema: Mapping[str, Any], value: Any) -> frozenset[Step]:
        """Return what a schema evaluates without its own `unevaluated…` keyword."""
        self.spend(2 + len(schema))
        found = _evaluated_items if isinstance(value, list) else _evaluated_properties
        known = frozenset(found(self, schema, value))
        for part in self._parts_that_hold(schema, value):
            known |= self.evaluated(part, value)
            self.spend(len(known))
        return known

    def _parts_that_hold(self, schema: Mapping[str, Any], value: Any) -> list[Any]:
        """Return the schemas about the same value that the value satisfies."""
        parts = [self.target(schema["$ref"])] if "$ref" in schema else []
        for keyword in ("allOf", "anyOf", "oneOf"):
            parts.extend(schema.get(keyword, ()))
        if isinstance(value, dict):
            dependents = schema.get("dependentSchemas", {})
            parts.extend(part for name, part in dependents.items() if name in value)
        held = [part for part in parts if self.is_valid(part, value)]
        if "if" in schema:
            holds = self.is_valid(schema["if"], value)
            held.extend([schema["if"]] if holds else [])
            held.append(schema.get("then" if holds else "else", True))
        return held


def shown(value: Any) -> str:
    """Return a value for a message."""
    try:
        return repr(value)
    except ValueError:  # Python writes no numbers with thousands of digits
        return "a number with too many digits"


def _best(problems: list[Problem]) -> Problem | None:
    return min(problems, key=lambda problem: problem.rank) if problems else None


def _type(_: Evaluation, types: Any, value: Any, __: Mapping[str, Any]) -> Problem | None:
    names = [types] if isinstance(types, str) else types
    kind = type_of(value)
    if kind in names or (kind == "integer" and "number" in names):
        return None
    if kind == "number" and "integer" in names and isinstance(value, float) and value.is_integer():
        return None
    listed = ", ".join(repr(name) for name in names)
    return Problem(lambda: f"{shown(value)} is not of type {listed}")


def _ref(run: Evaluation, reference: Any, value: Any, _: Mapping[str, Any]) -> Problem | None:
    return run.problem(run.target(reference), value)


def _enum(run: Evaluation, values: Any, value: Any, _: Mapping[str, Any]) -> Problem | None:
    if run.key(value) in run.enum_keys(values):
        return None
    return Problem(lambda: f"{shown(value)} is not one of {shown(values)}")


def _const(run: Evaluation, wanted: Any, value: Any, _: Mapping[str, Any]) -> Problem | None:
    if run.key(value) == run.key(wanted):
        return None
    return Problem(lambda: f"{shown(wanted)} was expected")


def _limit(words: str, holds: Callable[[Any, Any], bool]) -> Keyword:
    def check(_: Evaluation, limit: Any, value: Any, __: Mapping[str, Any]) -> Problem | None:
        if type_of(value) not in ("integer", "number") or holds(value, limit):
            return None
        return Problem(lambda: f"{shown(value)} is {words} of {shown(limit)}")

    return check


def _multiple_of(_: Evaluation, step: Any, value: Any, __: Mapping[str, Any]) -> Problem | None:
    if type_of(value) not in ("integer", "number"):
        return None
    # Decimals, as they are written: 19.99 is a multiple of 0.01.
    if _is_finite(value):
        whole = Fraction(value) if isinstance(value, int) else Fraction(repr(value))
        parts = Fraction(step) if isinstance(step, int) else Fraction(repr(step))
        if (whole / parts).denominator == 1:
            return None
    return Problem(lambda: f"{shown(value)} is not a multiple of {shown(step)}")


def _is_finite(value: float) -> bool:
    return isinstance(value, int) or math.isfinite(value)


def _size(kind: type[Any], words: str, holds: Callable[[int, int], bool]) -> Keyword:
    def check(_: Evaluation, limit: Any, value: Any, __: Mapping[str, Any]) -> Problem | None:
        if not isinstance(value, kind) or holds(len(value), limit):
            return None
        return Problem(lambda: f"{shown(value)} {words.format(limit)}")

    return check


def _pattern(run: Evaluation, pattern: Any, value: Any, _: Mapping[str, Any]) -> Problem | None:
    if not isinstance(value, str) or run.matches(pattern, value):
        return None
    return Problem(lambda: f"{shown(value)} does not match {pattern!r}")


def _format(run: Evaluation, name: Any, value: Any, _: Mapping[str, Any]) -> Problem | None:
    check = FORMATS.get(name)
    if check is None or not isinstance(value, str):
        return None
    run.spend(1 + len(value) // _CHARACTERS_PER_STEP)
    return None if check(value) else Problem(lambda: f"{shown(value)} is not a {name!r}")


def _items(run: Evaluation, schema: Any, value: Any, node: Mapping[str, Any]) -> Problem | None:
    if not isinstance(value, list):
        return None
    first = len(node.get("prefixItems", ()))
    if schema is False and len(value) > first:
        return Problem(
            lambda: f"expected at most {first} items but found {len(value) - first} more"
        )
    return _each(run, ((index, schema, value[index]) for index in range(first, len(value))))


def _prefix_items(run: Evaluation, schemas: Any, value: Any, _: Any) -> Problem | None:
    if not isinstance(value, list):
        return None
    pairs = enumerate(zip(schemas, value, strict=False))
    return _each(run, ((index, schema, item) for index, (schema, item) in pairs))


def _each(run: Evaluation, parts: Any) -> Problem | None:
    """Return the best problem of parts of a value: each has a step, a schema and the part itself."""
    best: Problem | None = None
    for step, schema, part in parts:
        run.spend(1)
        found = run.problem(schema, part)
        if found is not None and (best is None or len(found.path) + 1 < len(best.path)):
            best = found.below(step)
    return best


def _contains(run: Evaluation, schema: Any, value: Any, node: Mapping[str, Any]) -> Problem | None:
    if not isinstance(value, list):
        return None
    least, most = node.get("minContains", 1), node.get("maxContains")
    count = sum(run.is_valid(schema, item) for item in value)
    if count < least:
        some = f"{least:,} items" if least > 1 else "items"
        return Problem(lambda: f"{shown(value)} does not contain {some} of the given schema")
    if most is not None and count > most:
        return Problem(lambda: f"{shown(value)} contains more than {most:,} items of the schema")
    return None


def _unique_items(run: Evaluation, unique: Any, value: Any, _: Any) -> Problem | None:
    if unique is not True or not isinstance(value, list):
        return None
    if len({run.key(item) for item in value}) == len(value):
        return None
    return Problem(lambda: f"{shown(value)} has non-unique elements")


def _properties(run: Evaluation, schemas: Any, value: Any, _: Any) -> Problem | None:
    if not isinstance(value, dict):
        return None
    names = schemas if len(schemas) <= len(value) else value
    both = [name for name in names if name in value and name in schemas]
    run.spend(len(names))
    return _each(run, ((name, schemas[name], value[name]) for name in both))


def _pattern_properties(run: Evaluation, schemas: Any, value: Any, _: Any) -> Problem | None:
    if not isinstance(value, dict):
        return None
    return _each(
        run,
        (
            (name, schema, part)
            for pattern, schema in schemas.items()
            for name, part in value.items()
            if run.matches(pattern, name)
        ),
    )


def _others(run: Evaluation, value: Mapping[str, Any], node: Mapping[str, Any]) -> list[str]:
    """Return the properties that `properties` and `patternProperties` do not name."""
    known = node.get("properties", {})
    run.spend(len(value))
    others = [name for name in value if name not in known]
    for pattern in node.get("patternProperties", ()):
        others = [name for name in others if not run.matches(pattern, name)]
    return others


def _additional(run: Evaluation, schema: Any, value: Any, node: Any) -> Problem | None:
    if not isinstance(value, dict) or schema is True:
        return None
    others = _others(run, value, node)
    if schema is not False:
        return _each(run, ((name, schema, value[name]) for name in others))
    return _unexpected("Additional properties", others)


def _unexpected(kind: str, names: list[Any]) -> Problem | None:
    if not names:
        return None
    were = "was" if len(names) == 1 else "were"
    return Problem(
        lambda: f"{kind} are not allowed ({', '.join(map(repr, names[:10]))} {were} unexpected)"
    )


def _property_names(run: Evaluation, schema: Any, value: Any, _: Any) -> Problem | None:
    if not isinstance(value, dict):
        return None
    return _best([found for name in value if (found := run.problem(schema, name)) is not None])


def _required(run: Evaluation, names: Any, value: Any, _: Any) -> Problem | None:
    if not isinstance(value, dict):
        return None
    run.spend(len(names))
    missing = next((name for name in names if name not in value), None)
    return None if missing is None else Problem(lambda: f"{missing!r} is a required property")


def _dependent_required(run: Evaluation, groups: Any, value: Any, _: Any) -> Problem | None:
    if not isinstance(value, dict):
        return None
    for name, needed in groups.items():
        run.spend(1 + len(needed))
        missing = next((other for other in needed if other not in value), None)
        if name in value and missing is not None:
            return _dependency(missing, name)
    return None


def _dependency(missing: str, name: str) -> Problem:
    return Problem(lambda: f"{missing!r} is a dependency of {name!r}")


def _dependent_schemas(run: Evaluation, schemas: Any, value: Any, _: Any) -> Problem | None:
    if not isinstance(value, dict):
        return None
    named = [schema for name, schema in schemas.items() if name in value]
    return _all_of(run, named, value, {})


def _all_of(run: Evaluation, schemas: Any, value: Any, _: Any) -> Problem | None:
    problems = [run.problem(schema, value) for schema in schemas]
    return _best([problem for problem in problems if problem is not None])


def _any_of(run: Evaluation, schemas: Any, value: Any, _: Any) -> Problem | None:
    problems: list[Problem] = []
    for schema in schemas:
        found = run.problem(schema, value)
        if found is None:
            return None
        problems.append(found)
    return _of_branches(problems, value)


def _one_of(run: Evaluation, schemas: Any, value: Any, _: Any) -> Problem | None:
    problems = [run.problem(schema, value) for schema in schemas]
    count = problems.count(None)
    if count == 1:
        return None
    if count:
        return Problem(lambda: f"{shown(value)} is valid under {count} of the given schemas")
    return _of_branches([problem for problem in problems if problem is not None], value)


def _of_branches(problems: list[Problem], value: Any) -> Problem:
    """Return the problem of the branch that comes nearest: the one whose problem is the deepest."""
    deepest = max(len(problem.path) for problem in problems)
    nearest = [problem for problem in problems if len(problem.path) == deepest]
    if len(nearest) == 1:
        return Problem(nearest[0].message, nearest[0].path, weak=True)
    return Problem(lambda: f"{shown(value)} is not valid under any of the given schemas", weak=True)


def _not(run: Evaluation, schema: Any, value: Any, _: Any) -> Problem | None:
    if not run.is_valid(schema, value):
        return None
    return Problem(lambda: f"{shown(value)} should not be valid under {shown(schema)}")


def _if(run: Evaluation, schema: Any, value: Any, node: Mapping[str, Any]) -> Problem | None:
    return run.problem(node.get("then" if run.is_valid(schema, value) else "else", True), value)


def _unevaluated_properties(
    run: Evaluation, schema: Any, value: Any, node: Mapping[str, Any]
) -> Problem | None:
    if not isinstance(value, dict):
        return None
    known = run.evaluated_beside(node, value)
    names = [name for name in value if name not in known]
    if schema is False:
        return _unexpected("Unevaluated properties", names)
    return _each(run, ((name, schema, value[name]) for name in names))


def _unevaluated_items(
    run: Evaluation, schema: Any, value: Any, node: Mapping[str, Any]
) -> Problem | None:
    if not isinstance(value, list):
        return None
    known = run.evaluated_beside(node, value)
    places = [index for index in range(len(value)) if index not in known]
    if schema is False:
        return _unexpected("Unevaluated items", [value[index] for index in places])
    return _each(run, ((index, schema, value[index]) for index in places))


def _places(value: Any) -> Iterable[Step]:
    return range(len(value)) if isinstance(value, list) else value


def _evaluated_properties(run: Evaluation, schema: Mapping[str, Any], value: Any) -> set[Step]:
    if not isinstance(value, dict):
        return set()
    if "additionalProperties" in schema:
        return set(value)
    return set(value) - set(_others(run, value, schema))


def _evaluated_items(run: Evaluation, schema: Mapping[str, Any], value: Any) -> set[Step]:
    if not isinstance(value, list):
        return set()
    if "items" in schema:
        return set(range(len(value)))
    places: set[Step] = set(range(min(len(schema.get("prefixItems", ())), len(value))))
    if "contains" in schema:
        held = enumerate(value)
        places |= {index for index, item in held if run.is_valid(schema["contains"], item)}
    return places


_KEYWORDS: dict[str, Keyword] = {
    "$ref": _ref,
    "enum": _enum,
    "const": _const,
    "minimum": _limit("less than the minimum", lambda value, limit: value >= limit),
    "maximum": _limit("greater than the maximum", lambda value, limit: value <= limit),
    "exclusiveMinimum": _limit(
        "less than or equal to the minimum", lambda value, limit: value > limit
    ),
    "exclusiveMaximum": _limit(
        "greater than or equal to the maximum", lambda value, limit: value < limit
    ),
    "multipleOf": _multiple_of,
    "minLength": _size(str, "is too short (at least {} characters)", lambda n, least: n >= least),
    "maxLength": _size(str, "is too long (at most {} characters)", lambda n, most: n <= most),
    "minItems": _size(list, "is too short (at least {} items)", lambda n, least: n >= least),
    "maxItems": _size(list, "is too long (at most {} items)", lambda n, most: n <= most),
    "minProperties": _size(
        dict, "has too few properties (at least {})", lambda n, least: n >= least
    ),
    "maxProperties": _size(dict, "has too many properties (at most {})", lambda n, most: n <= most),
    "pattern": _pattern,
    "format": _format,
    "items": _items,
    "prefixItems": _prefix_items,
    "contains": _contains,
    "uniqueItems": _unique_items,
    "properties": _properties,
    "patternProperties": _pattern_properties,
    "additionalProperties": _additional,
    "propertyNames": _property_names,
    "required": _required,
    "dependentRequired": _dependent_required,
    "dependentSchemas": _dependent_schemas,
    "allOf": _all_of,
    "anyOf": _any_of,
    "oneOf": _one_of,
    "not": _not,
    "if": _if,
    "unevaluatedProperties": _unevaluated_properties,
    "unevaluatedItems": _unevaluated_items,
}

"""Evaluation of a value against a JSON Schema, in a bounded number of steps.

Each pair of a definition and a value is evaluated once, so references do not multiply the work. The number
of steps depends on the schema and the value alone: a replay counts the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from outlast.jsonschema.patterns import Matcher, pattern_of
from outlast_activities.policies.schema_keywords import (
    KEYWORDS,
    evaluated_items,
    evaluated_properties,
    places_of,
    type_problem,
)
from outlast_activities.policies.schema_problem import Problem, Step, value_text
from outlast_activities.policies.value_keys import value_key

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


class CheckTooLarge(Exception):
    """The check of a value needs too many steps, or its schema too many levels."""


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

    def spend_on_text(self, text: str) -> None:
        """Count the steps of reading a text once."""
        self.spend(1 + len(text) // _CHARACTERS_PER_STEP)

    def problem(self, schema: Any, value: Any) -> Problem | None:
        """Return the most important problem of a value, or None."""
        if schema is True or schema == {}:
            return None
        if schema is False:
            return Problem(lambda: f"False schema does not allow {value_text(value)}")
        key = (id(schema), id(value))
        if key in self._known:
            return self._known[key]
        self.spend(2 + len(schema))
        self._depth += 1
        if self._depth > MAX_EVALUATION_DEPTH:
            raise CheckTooLarge(f"the schema nests deeper than {MAX_EVALUATION_DEPTH} here")
        best = type_problem(self, schema["type"], value, schema) if "type" in schema else None
        for keyword, argument in schema.items():
            if best is not None and best.rank == (0, False):
                break
            check = KEYWORDS.get(keyword)
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
            known = frozenset(places_of(value)) if whole else self.evaluated_beside(schema, value)
            self._evaluated[key] = known
        return known

    def evaluated_beside(self, schema: Mapping[str, Any], value: Any) -> frozenset[Step]:
        """Return what a schema evaluates without its own `unevaluated…` keyword."""
        self.spend(2 + len(schema))
        found = evaluated_items if isinstance(value, list) else evaluated_properties
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

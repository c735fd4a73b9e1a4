"""Equivalent schemas for engines that do not know a keyword, from keywords that all engines know."""

import itertools
import math
from dataclasses import dataclass
from typing import Any

from outlast.jsonschema.schemas import Schema
from outlast_activities.constraints.portable_formats import PATTERNS

MAX_VALUES = 100
"""The most values that are listed one by one: multiples, lists of unique items, or property names."""

_BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
_VALUE_KEYWORDS = ("type", "enum", "const", "title", "description")


@dataclass(frozen=True)
class EngineSupport:
    """What an engine supports: a pattern for a format, `multipleOf`, and lists as values of `enum`."""

    patterns: bool
    multiples: bool
    lists: bool


def rewrite_schema(node: Schema, definitions: Any, support: EngineSupport) -> Schema:
    """Return an equivalent schema. Only strings with a format are limited as in `PATTERNS`."""
    kind = node.get("type")
    if kind == "string" and support.patterns:
        return _with_pattern(node)
    if kind == "integer" and not support.multiples:
        return _with_multiples(node)
    if kind == "object":
        return _with_names(node, definitions)
    if kind == "array" and support.lists:
        return _with_lists(node, definitions)
    return node


def _with_pattern(node: Schema) -> Schema:
    pattern = PATTERNS.get(str(node.get("format")))
    if pattern is None:
        return node
    return {**_without(node, "format"), "pattern": pattern}


def _with_multiples(node: Schema) -> Schema:
    """List the multiples between two bounds."""
    step: Any = node.get("multipleOf")
    if step is None or step != int(step) or node.keys() - {"type", "multipleOf", *_BOUNDS}:
        return node
    bounds: dict[str, Any] = {bound: node[bound] for bound in _BOUNDS if bound in node}
    lows = [bounds[bound] for bound in ("minimum", "exclusiveMinimum") if bound in bounds]
    highs = [bounds[bound] for bound in ("maximum", "exclusiveMaximum") if bound in bounds]
    if not lows or not highs:
        return node
    first, last = math.ceil(max(lows) / step), math.floor(min(highs) / step)
    if last - first >= MAX_VALUES:
        return node
    above = bounds.get("exclusiveMinimum", -math.inf)
    below = bounds.get("exclusiveMaximum", math.inf)
    multiples = [int(step) * count for count in range(first, last + 1)]
    values = [value for value in multiples if above < value < below]
    return {"type": "integer", "enum": list(values)} if values else node


def _with_names(node: Schema, definitions: Any) -> Schema:
    """Rewrite a map with a few possible keys as an object with these properties."""
    values = _values(node.get("propertyNames"), definitions)
    names = [value for value in values if isinstance(value, str)]
    others: Any = node.get("additionalProperties", True)
    beside = {"properties", "patternProperties", "unevaluatedProperties"} & node.keys()
    required: Any = node.get("required", [])
    if not names or beside or others is False or not set(required) <= set(names):
        return node
    schema = {} if others is True else others
    return {
        **_without(node, "propertyNames"),
        "properties": dict.fromkeys(names, schema),
        "additionalProperties": False,
    }


def _with_lists(node: Schema, definitions: Any) -> Schema:
    """List all lists of unique items out of a few values, because no engine compares items."""
    known = {"type", "items", "uniqueItems", "minItems", "maxItems"}
    values = _values(node.get("items"), definitions)
    if node.get("uniqueItems") is not True or node.keys() - known or not values:
        return node
    least: Any = node.get("minItems", 0)
    most: Any = node.get("maxItems", len(values))
    lengths = range(least, min(most, len(values)) + 1)
    count = sum(math.perm(len(values), length) for length in lengths)
    if not 0 < count <= MAX_VALUES:
        return node
    lists = itertools.chain.from_iterable(
        itertools.permutations(values, length) for length in lengths
    )
    return {"type": "array", "enum": [list(items) for items in lists]}


def _values(schema: Any, definitions: Any) -> list[str | int]:
    """Return the strings or integers that a schema allows, if they are few, each once."""
    reference = str(schema.get("$ref", "")) if isinstance(schema, dict) else ""
    if reference.startswith("#/$defs/") and schema.keys() == {"$ref"}:
        schema = definitions.get(reference.removeprefix("#/$defs/"))
    if not isinstance(schema, dict):
        return []
    if schema.keys() == {"type", "minimum", "maximum"} and schema["type"] == "integer":
        values: Any = _whole_numbers(schema["minimum"], schema["maximum"])
    elif schema.keys() & {"enum", "const"} and not schema.keys() - {*_VALUE_KEYWORDS}:
        values = schema.get("enum", [schema.get("const")])
    else:
        return []
    for kind in (str, int):
        if all(type(value) is kind for value in values) and len(values) <= MAX_VALUES:
            return list(dict.fromkeys(values))
    return []


def _whole_numbers(least: float, most: float) -> list[int]:
    first, last = math.ceil(least), math.floor(most)
    return list(range(first, last + 1)) if last - first < MAX_VALUES else []


def _without(node: Schema, keyword: str) -> Schema:
    return {key: value for key, value in node.items() if key != keyword}

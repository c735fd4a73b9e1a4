"""Parts of a JSON Schema, and what one of them says: pure functions of a node, for the division."""

from typing import Any

from outlast.jsonschema.contradictions import types_of
from outlast.jsonschema.keywords import ANNOTATIONS
from outlast.jsonschema.schemas import Schema
from outlast_activities.constraints.engines import MAX_PATTERN_LENGTH
from outlast_activities.constraints.portable_patterns import repeats_group

_DECIMAL_PATTERNS = ("^(?!^[-+.]*$)", "^(?!^[+-.]*$)", "^[+-]?")
"""The beginnings of pydantic's patterns for a decimal, before version 2.14 and since."""

_ANY_NAME = ("", ".", ".*", ".+", "^.*$", "^.+$", "^")
"""Patterns that all names of properties match."""


def is_costly_length(node: Schema, length: int) -> bool:
    """Return whether an engine compiles a pattern and a length together for too long."""
    if "pattern" not in node:
        return False
    return length > MAX_PATTERN_LENGTH or repeats_group(str(node["pattern"]))


def is_annotation(keyword: str) -> bool:
    """Return whether a keyword constrains nothing."""
    return keyword in ("$schema", *ANNOTATIONS) or keyword.startswith("x-")


def types_of_node(node: Schema) -> set[str]:
    """Return the types that a node names."""
    kinds: Any = node.get("type", [])
    return {kinds} if isinstance(kinds, str) else set(kinds)


def merged_nodes(one: Schema, other: Schema) -> Schema | None:
    """Return one schema for both, or None if they constrain the same thing in different ways."""
    merged = dict(one)
    for keyword, value in other.items():
        known: Any = merged.get(keyword, value)
        if known == value:
            merged[keyword] = value
        elif keyword == "required" and isinstance(value, list):
            merged[keyword] = list(dict.fromkeys([*known, *value]))
        elif keyword == "properties" and isinstance(value, dict) and not known.keys() & value:
            merged[keyword] = {**known, **value}
        else:
            return None
    objects = {"properties", "patternProperties", "additionalProperties"}
    both_objects = bool(objects & one.keys()) and bool(objects & other.keys())
    closed = merged.get("additionalProperties", True) is not True
    beside = {"$ref", "anyOf", "oneOf"} & merged.keys() and len(merged) > 1
    return None if (both_objects and closed) or beside else merged


def with_any_name(node: Schema) -> Schema:
    """Write a pattern that all names match as `additionalProperties`."""
    patterns: Any = node.get("patternProperties", {})
    if len(patterns) != 1 or node.get("properties") or not {*patterns} <= {*_ANY_NAME}:
        return node
    kept = {key: value for key, value in node.items() if key != "patternProperties"}
    return {**kept, "additionalProperties": next(iter(patterns.values()))}


def with_required(node: Schema) -> Schema:
    """Add required properties to `properties`: engines leave out or forbid unknown ones."""
    names: Any = node.get("required", [])
    known: Any = node.get("properties", {})
    others: Any = node.get("additionalProperties", True)
    missing = [name for name in names if name not in known]
    if not missing or "object" not in types_of_node(node) or others is False:
        return node
    schema = others if isinstance(others, dict) else {}
    opened = {**node, "properties": {**known, **dict.fromkeys(missing, schema)}}
    if not known:
        opened.setdefault("additionalProperties", True)
    return opened


def without_rest(node: Schema, kept: Schema) -> Schema:
    """Set `maxItems` so that nothing follows the prefix."""
    first: Any = node.get("prefixItems", [])
    most: Any = node.get("maxItems", len(first))
    return {**kept, "maxItems": min(most, len(first))}


def with_unknown_properties(node: Schema) -> Schema:
    """Allow properties that only the check knows."""
    closed = "patternProperties" in node or "additionalProperties" not in node
    about_objects = "object" in types_of_node(node) or "properties" in node
    return {**node, "additionalProperties": True} if closed and about_objects else node


def branches_say_more(node: Schema) -> bool:
    """Return whether `anyOf` constrains more than the keywords beside it."""
    beside = node.keys() - {"anyOf"}
    if beside == {"type"}:
        branches: Any = node["anyOf"]
        keywords = ("type", "$ref", "enum", "const", "anyOf", "oneOf", "allOf")
        return all(
            any(keyword in branch for keyword in keywords)
            for branch in branches
            if branch is not True
        )
    return not beside & {"type", "properties"}


def values_of_type(node: Schema) -> list[Any]:
    """Return the values of an `enum` that have one of the types of the node."""
    values: Any = node["enum"]
    kinds = types_of_node(node)
    return [value for value in values if not kinds or kinds & set(types_of(value))]


def is_decimal(node: Any) -> bool:
    """Return whether a node is pydantic's text of a decimal."""
    return isinstance(node, dict) and str(node.get("pattern", "")).startswith(_DECIMAL_PATTERNS)


def is_number(node: Any) -> bool:
    """Return whether a node is a number."""
    return isinstance(node, dict) and node.get("type") in ("number", "integer")

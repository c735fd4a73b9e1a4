"""Contradictions in well-formed JSON Schemas: mistakes that leave no value, reported at their place.

This is not a solver. It finds the mistakes that people make (docs/decisions/0017): limits that cross,
values of another type, required properties that are forbidden, and definitions that contain themselves
without end.
"""

import graphlib
from collections.abc import Iterator
from typing import Any

from outlast.jsonschema.keywords import DEFINITIONS, children
from outlast.jsonschema.schemas import Schema

Place = tuple[str, str]
"""A path in a schema, and what is wrong there."""

MAX_EXPANSIONS = 10_000
"""Schemas that one value is compared with, when each reference is written out. Engines write them out."""

MAX_REFERENCE_DEPTH = 64
"""Schemas inside of each other about one value, when each reference is written out."""

_LIMITS = (
    ("minLength", "maxLength", "string"),
    ("minItems", "maxItems", "array"),
    ("minProperties", "maxProperties", "object"),
    ("minimum", "maximum", "number"),
    ("minimum", "exclusiveMaximum", "number"),
    ("exclusiveMinimum", "maximum", "number"),
    ("exclusiveMinimum", "exclusiveMaximum", "number"),
)
_SAME_VALUE = ("anyOf", "oneOf", "allOf", "not", "if", "then", "else", "dependentSchemas")
"""Keywords whose schemas are about the same value as the schema that they stand in."""


def contradiction_in(node: Schema, path: str) -> Place | None:
    """Return what makes one schema, without the schemas in it, impossible to satisfy, or None."""
    kinds = _kinds(node)
    for low, high, kind in _LIMITS:
        least: Any = node.get(low)
        most: Any = node.get(high)
        if least is None or most is None or not kinds <= {kind}:
            continue
        if least > most or (least == most and "exclusive" in low + high):
            return f"{path}.{low}", f"{least} leaves no value, because {high} is {most}"
    return _wrong_values(node, path) or _forbidden_property(node, path)


def _kinds(node: Schema) -> set[str]:
    """Return the types that `type` allows, an integer as a number, or none without `type`."""
    declared: Any = node.get("type", [])
    names = [declared] if isinstance(declared, str) else declared
    return {"number" if name == "integer" else name for name in names}


def _wrong_values(node: Schema, path: str) -> Place | None:
    declared: Any = node.get("type")
    if declared is None:
        return None
    types = {declared} if isinstance(declared, str) else set(declared)
    for keyword in ("enum", "const"):
        values: Any = node.get(keyword, []) if keyword == "enum" else [node.get(keyword)]
        if keyword in node and not any(types & set(types_of(value)) for value in values):
            return f"{path}.{keyword}", f"has no value of type {' or '.join(sorted(types))}"
    return None


def _forbidden_property(node: Schema, path: str) -> Place | None:
    if node.get("additionalProperties") is not False or "patternProperties" in node:
        return None
    if not _kinds(node) <= {"object"}:
        return None
    properties: Any = node.get("properties", {})
    required: Any = node.get("required", [])
    for name in required:
        if name not in properties:
            reason = "is not in 'properties', and additionalProperties is false"
            return f"{path}.required", f"{name!r} {reason}; add it to 'properties'"
    return None


def types_of(value: Any) -> tuple[str, ...]:
    """Return the JSON Schema types of a JSON value."""
    if isinstance(value, bool):
        return ("boolean",)
    if isinstance(value, int) or (isinstance(value, float) and value.is_integer()):
        return ("integer", "number")
    names = {float: "number", str: "string", list: "array", dict: "object"}
    return (names.get(type(value), "null"),)


def endless_reference(schema: Schema, path: str) -> Place | None:
    """Return a reference that no finite value satisfies, or that an engine follows for too long.

    The schema is in the canonical form.
    The work is bounded by the size of the schema and the number of its definitions.
    """
    definitions = {name: (node, place) for name, node, place in _definitions(schema, path)}
    follows = {name: _references(node, same_value=True) for name, (node, _) in definitions.items()}
    try:
        order = [*graphlib.TopologicalSorter(follows).static_order()]
    except graphlib.CycleError as error:
        name = error.args[1][0]
        return definitions[name][1], f"{name!r} refers to itself in a circle; write out its type"
    finite = _finite(definitions)
    for name, (node, place) in definitions.items():
        if name not in finite:
            return _unending(node, place, finite)
    return _expanding(order, definitions)


def _expanding(order: list[str], definitions: dict[str, tuple[Any, str]]) -> Place | None:
    """Return a definition that is too large when its references are written out."""
    sizes: dict[str, tuple[int, int]] = {}
    for name in order:  # a definition comes after those that it refers to
        node, place = definitions[name]
        for part in _parts(node):
            count, depth = _expansion(part, sizes)
            if count > MAX_EXPANSIONS or depth > MAX_REFERENCE_DEPTH:
                limit = (
                    f"{MAX_EXPANSIONS:,} schemas, or nests more than {MAX_REFERENCE_DEPTH} levels"
                )
                reason = (
                    f"has more than {limit} of anyOf, oneOf, allOf and references, for one value"
                )
                return place, f"{reason}; refer to each definition once"
        sizes[name] = _expansion(node, sizes)
    return None


def _expansion(node: Any, sizes: dict[str, tuple[int, int]]) -> tuple[int, int]:
    """Return how many schemas there are about the same value, and how deep they are nested."""
    if not isinstance(node, dict):
        return 1, 1
    inner = [
        _expansion(child, sizes)
        for child, place in children(node)
        if place.partition(".")[0] in _SAME_VALUE
    ]
    if "$ref" in node:
        inner.append(sizes.get(str(node["$ref"]), (1, 1)))
    depth = max((depth for _, depth in inner), default=0)
    return 1 + sum(count for count, _ in inner), 1 + depth


def _parts(node: Any) -> Iterator[Any]:
    """Yield a schema and the schemas in it, without definitions."""
    waiting = [node]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            yield part
            waiting.extend(
                child
                for child, place in children(part)
                if place.partition(".")[0] not in DEFINITIONS
            )


def _finite(definitions: dict[str, tuple[Any, str]]) -> set[str]:
    """Return the definitions with a finite value: all that they need is finite as well."""
    needed_by: dict[str, set[str]] = {}
    for name, (node, _) in definitions.items():
        for reference in _references(node, same_value=False):
            needed_by.setdefault(reference, set()).add(name)
    finite: set[str] = set()
    waiting = set(definitions)
    while waiting:  # each round adds a definition to `finite`, or is the last
        added = {name for name in waiting if _unending(*definitions[name], finite) is None}
        finite |= added
        waiting = {user for name in added for user in needed_by.get(name, ())} - finite
    return finite


def _unending(node: Any, path: str, finite: set[str]) -> Place | None:
    """Return the first reference that every value of a schema needs, and that is not finite."""
    if not isinstance(node, dict) or "enum" in node or "const" in node:
        return None
    reference = node.get("$ref")
    if reference is not None and reference not in finite:
        reason = (
            "contains itself without end; make it optional, nullable, or a list that may be empty"
        )
        return f"{path}.$ref", f"{reference!r} {reason}"
    for keyword in ("anyOf", "oneOf"):
        branches = [
            _unending(branch, f"{path}.{keyword}.{index}", finite)
            for index, branch in enumerate(node.get(keyword, ()))
        ]
        if branches and all(branches):
            return branches[0]
    needed = (_unending(part, f"{path}.{place}", finite) for part, place in _needed(node))
    return next(filter(None, needed), None)


def _needed(node: Schema) -> Iterator[tuple[Any, str]]:
    """Yield the schemas inside of a schema that every value of it satisfies somewhere."""
    parts: Any = node.get("allOf", [])
    yield from ((part, f"allOf.{index}") for index, part in enumerate(parts))
    if node.get("type", "object") == "object":
        properties: Any = node.get("properties", {})
        required: Any = node.get("required", [])
        yield from ((properties.get(name), f"properties.{name}") for name in required)
    least: Any = node.get("minItems", 0)
    if least and node.get("type", "array") == "array":
        first: Any = node.get("prefixItems", [])
        yield from ((part, f"prefixItems.{index}") for index, part in enumerate(first[:least]))
        if least > len(first):
            yield node.get("items"), "items"


def _definitions(schema: Schema, path: str) -> Iterator[tuple[str, Any, str]]:
    inner: Any = schema.get("$defs", {})
    for name, node in inner.items():
        yield f"#/$defs/{name}", node, f"{path}.$defs.{name}"
    yield "#", schema, path


def _references(node: Any, *, same_value: bool) -> set[str]:
    """Return the references of a schema: all, or those that are about the same value."""
    if not same_value:
        return {str(part["$ref"]) for part in _parts(node) if "$ref" in part}
    references: set[str] = set()
    waiting = [node]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            if "$ref" in part:
                references.add(str(part["$ref"]))
            waiting.extend(
                child for child, place in children(part) if place.partition(".")[0] in _SAME_VALUE
            )
    return references

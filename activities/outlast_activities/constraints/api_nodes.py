"""Parts of a schema in the dialect of an API: pure functions of a node, for the conversion."""

from collections.abc import Iterator
from typing import Any

from outlast.jsonschema.keywords import ANNOTATIONS, children
from outlast.jsonschema.schemas import Schema
from outlast_activities.constraints.nodes import types_of_node

MAX_DESCRIPTION = 1_000
"""Characters of a description that the conversion completes."""

MAX_MERGES = 20
"""References and `allOf` that are merged into one schema. A schema with more is not converted."""

KEYWORDS_OF: dict[str, tuple[str, ...]] = {
    "string": ("minLength", "maxLength", "pattern", "format"),
    "integer": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
    "number": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
    "array": ("items", "prefixItems", "minItems", "maxItems", "uniqueItems", "contains"),
    "object": (
        *("properties", "required", "additionalProperties", "patternProperties"),
        *("minProperties", "maxProperties", "propertyNames", "dependentRequired"),
    ),
    "boolean": (),
    "null": (),
}
SHAPES = frozenset(("type", "$ref", "enum", "const", "anyOf", "oneOf", "allOf")) | {
    keyword for keywords in KEYWORDS_OF.values() for keyword in keywords
}


def nullable(schema: Schema) -> Schema:
    """Return a schema that also allows null."""
    branches: Any = schema.get("anyOf")
    if branches is not None:
        return {**schema, "anyOf": [*branches, {"type": "null"}]}
    return {"anyOf": [schema, {"type": "null"}]}


def description_of(node: Schema) -> Schema:
    """Return the description of a schema, as a schema."""
    return {"description": node["description"]} if node.get("description") else {}


def without_annotations(node: Schema) -> Schema:
    """Return a schema without the keywords that constrain nothing."""
    return {key: value for key, value in node.items() if key not in (*ANNOTATIONS, "$defs")}


def described(schema: Schema, node: Schema, remarks: list[str]) -> Schema:
    """Return a schema with the description of its original, and remarks."""
    texts = [str(node["description"])] if node.get("description") else []
    texts += [f"({'; '.join(remarks)})"] if remarks else []
    return {**schema, "description": " ".join(texts)[:MAX_DESCRIPTION]} if texts else schema


def redescribed(schema: Schema, node: Schema) -> Schema:
    """Return a converted schema with the description of its original before its own."""
    if not node.get("description") or "$ref" in schema:
        return schema
    own = str(schema.get("description", ""))
    description = str(node["description"])
    if own.startswith(description):
        return schema
    return {**schema, "description": f"{description} {own}".strip()[:MAX_DESCRIPTION]}


def implied_types(node: Schema) -> set[str]:
    """Return the types that a schema without `type` is about. Numbers and integers are one."""
    return {
        kind
        for kind, keywords in KEYWORDS_OF.items()
        if kind != "integer" and any(keyword in node for keyword in keywords)
    }


def kinds_of(node: Any, target: Any, depth: int = 0) -> set[str]:
    """Return the JSON types that the converted form of a schema can have, before it is converted."""
    if depth > MAX_MERGES or not isinstance(node, dict) or not SHAPES & node.keys():
        return {"string"}
    if "$ref" in node:
        return kinds_of(target(str(node["$ref"])), target, depth + 1)
    listed: Any = node.get("anyOf") or node.get("oneOf")
    if listed:
        return set().union(*(kinds_of(branch, target, depth + 1) for branch in listed))
    kinds = types_of_node(node) or implied_types(node) or {"string"}
    # A map is a list, and a tuple an object.
    swapped = {"array", "object"} if kinds & {"array", "object"} else set()
    return kinds | swapped | ({"integer"} if "number" in kinds else set())


def references_in(node: Any) -> Iterator[str]:
    """Yield the references in a schema, but those of its definitions."""
    waiting = [node]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            if "$ref" in part:
                yield str(part["$ref"])
            waiting.extend(
                child for child, place in children(part) if not place.startswith("$defs")
            )


def has_shape(node: Any) -> bool:
    """Return whether a schema constrains more than which properties there are."""
    shapes = {"type", "properties", "items", "prefixItems", "enum", "const"}
    return isinstance(node, dict) and bool(
        node.keys() & (shapes | {"$ref", "anyOf", "oneOf", "allOf"})
    )

"""Sizes of schemas in an API's dialect, and the limits that the API sets them."""

from collections.abc import Iterator
from typing import Any

from outlast.jsonschema.schemas import Schema
from outlast_activities.constraints.api_dialects import (
    RequestLimits,
    SchemaDialect,
    SchemaLimits,
)


def limit_problem(schema: Schema, dialect: SchemaDialect) -> str | None:
    """Return which limit of a dialect a converted schema exceeds, or None."""
    own = _own_problem(schema, dialect.limits) if dialect.limits else None
    if own is not None or dialect.request_limits is None:
        return own
    return _request_problem(schema, dialect.request_limits)


def _request_problem(schema: Schema, limits: RequestLimits) -> str | None:
    return _exceeded(
        ("optional properties", optional_properties(schema), limits.optional_properties),
        ("unions", unions(schema), limits.unions),
    )


def _own_problem(schema: Schema, limits: SchemaLimits) -> str | None:
    nodes = list(_nodes(schema))
    properties = sum(len(node.get("properties", {})) for node in nodes)
    enums: list[list[Any]] = [node["enum"] for node in nodes if "enum" in node]
    names = [name for node in nodes for name in node.get("properties", {})]
    values = [value for enum in enums for value in enum]
    definitions: Any = schema.get("$defs", {})
    characters = sum(len(str(text)) for text in (*names, *definitions, *values))
    large = max(
        (sum(map(len, map(str, enum))) for enum in enums if len(enum) > limits.large_enum),
        default=0,
    )
    return _exceeded(
        ("properties", properties, limits.properties),
        ("values of enums", len(values), limits.enum_values),
        ("characters of names and values", characters, limits.characters),
        ("characters of one large enum", large, limits.characters_of_large_enum),
        ("levels of nesting", _levels(schema), limits.levels),
    )


def _exceeded(*counts: tuple[str, int, int]) -> str | None:
    """Return the first count that is above its limit, in words."""
    for noun, count, most in counts:
        if count > most:
            return f".: {count} {noun}, and this API accepts {most}"
    return None


def optional_properties(schema: Schema) -> int:
    """Return how many properties of a schema are optional, in all of its objects."""
    return sum(
        len(node.get("properties", {})) - len(node.get("required", [])) for node in _nodes(schema)
    )


def unions(schema: Schema) -> int:
    """Return how many parts of a schema have a union type: `anyOf`, or a list of types."""
    return sum("anyOf" in node or isinstance(node.get("type"), list) for node in _nodes(schema))


def _nodes(schema: Schema) -> Iterator[dict[str, Any]]:
    """Yield each part of a converted schema once. References are not followed."""
    waiting: list[Any] = [schema]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            yield node
            waiting.extend(_parts(node))


def _parts(node: dict[str, Any]) -> Iterator[Any]:
    yield from node.get("properties", {}).values()
    yield from node.get("$defs", {}).values()
    yield from node.get("anyOf", [])
    yield from node.get("prefixItems", [])
    if "items" in node:
        yield node["items"]


def _levels(node: Any) -> int:
    """Return how deep objects and lists are nested. Definitions count on their own."""
    if not isinstance(node, dict):
        return 0
    definitions = max((_levels(part) for part in node.get("$defs", {}).values()), default=0)
    own = {key: value for key, value in node.items() if key != "$defs"}
    inside = max((_levels(part) for part in _parts(own)), default=0)
    is_container = "properties" in node or "items" in node
    return max(definitions, inside + is_container)

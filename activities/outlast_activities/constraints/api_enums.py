"""Conversion of enums and constants to the dialect of an API."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import JsonValue

from outlast.jsonschema.contradictions import types_of
from outlast.jsonschema.schemas import Schema
from outlast_activities.constraints.api_dialects import SchemaDialect
from outlast_activities.constraints.api_nodes import described
from outlast_activities.constraints.api_parts import Impossible, Part, either
from outlast_activities.constraints.api_values import Restore, from_enum, unchanged
from outlast_activities.constraints.nodes import types_of_node


def enum_part(
    node: Schema, dialect: SchemaDialect, fits: Callable[[JsonValue, Schema], bool]
) -> Part:
    """Convert an enum or a constant: one part for each JSON type of its values."""
    values: Any = node["enum"] if "enum" in node else [node["const"]]
    if "enum" in node and "const" in node:
        values = [value for value in values if value == node["const"]]
    kinds = types_of_node(node)
    values = [value for value in values if not kinds or kinds & set(types_of(value))]
    parts: list[Part] = []
    texts = _texts(values)
    if texts:
        parts.append(_text_part(texts, dialect))
    for kind in ("integer", "number", "boolean", "null"):
        own = [value for value in values if types_of(value)[0] == kind]
        if own:
            kinds_of_part = frozenset((*types_of(own[0]), kind))
            parts.append(Part(_listed(kind, own, dialect), kinds_of_part))
    if not parts:
        raise Impossible
    return either(parts, node, fits)


def _texts(values: list[Any]) -> dict[str, JsonValue]:
    """Return the original value of each text. Lists and objects are JSON texts."""
    texts: dict[str, JsonValue] = {
        json.dumps(value, ensure_ascii=False): value
        for value in values
        if isinstance(value, list | dict)
    }
    return texts | {value: value for value in values if isinstance(value, str)}


def _text_part(texts: Mapping[str, JsonValue], dialect: SchemaDialect) -> Part:
    restore: Restore = unchanged
    if dialect.folds_enums or any(text != value for text, value in texts.items()):
        restore = from_enum(texts, folds=dialect.folds_enums)
    return Part(_listed("string", list(texts), dialect), frozenset({"string"}), restore)


def _listed(kind: str, values: list[Any], dialect: SchemaDialect) -> Schema:
    """Return a schema that lists the values, or describes them if the API accepts no such list."""
    if kind == "null":
        return {"type": kind}
    unique = [value for number, value in enumerate(values) if value not in values[:number]]
    fits = dialect.max_enum is None or len(unique) <= dialect.max_enum
    if kind in dialect.enum_types and fits:
        return {"type": kind, "enum": unique}
    names = ", ".join(json.dumps(value, ensure_ascii=False) for value in unique)
    return described({"type": kind}, {}, [f"one of {names}"])

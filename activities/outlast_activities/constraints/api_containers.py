"""Conversion of lists, tuples, objects and maps to the dialect of an API."""

import json
import re
from dataclasses import dataclass, field
from typing import Any

from outlast.jsonschema.schemas import Schema, closed_object
from outlast_activities.constraints.api_nodes import described, nullable
from outlast_activities.constraints.api_parts import (
    Converter,
    Impossible,
    Part,
    either,
    json_text_part,
    kept_keywords,
)
from outlast_activities.constraints.api_values import (
    KEY,
    REST,
    VALUE,
    Property,
    Restore,
    from_entries,
    from_items,
    from_json_text,
    from_object,
    from_tuple,
    item_name,
)

_SAFE_PROPERTY = re.compile(r"[a-zA-Z0-9_.-]{1,64}")
"""Names of properties that every API accepts."""

MAX_NAME = 60
"""Characters of a name that replaces one which an API does not accept. A number may follow."""


def array_part(converter: Converter, node: Schema, path: str) -> Part:
    """Convert a list, or a tuple."""
    first: Any = node.get("prefixItems", [])
    if first:
        return _tuple_part(converter, node, path)
    kept, remarks = kept_keywords(node, ("minItems", "maxItems"), converter.dialect)
    if node.get("uniqueItems") is True:
        remarks.append("uniqueItems: true")
    try:
        item = converter.part(node.get("items", True), f"{path}.items")
    except Impossible:
        if node.get("minItems"):
            raise
        # Only the empty list is possible, and no API has a schema for it alone.
        item = json_text_part({})
        remarks.append("maxItems: 0")
    schema = described({"type": "array", "items": item.schema, **kept}, node, remarks)
    return Part(schema, frozenset({"array"}), from_items(item.restore))


@dataclass
class _Items:
    """The items of a tuple, as properties of an object."""

    properties: Schema = field(default_factory=dict)
    required: list[str] = field(default_factory=list)
    restores: list[Restore] = field(default_factory=list)
    is_complete: bool = True


def _tuple_part(converter: Converter, node: Schema, path: str) -> Part:
    first: Any = node["prefixItems"]
    least: Any = node.get("minItems", 0)
    most: Any = node.get("maxItems")
    items = _Items()
    for index, item in enumerate(first[:most]):
        try:
            part = converter.part(item, f"{path}.prefixItems.{index}")
        except Impossible:
            if index < least:
                raise
            items.is_complete = False
            break
        items.properties[item_name(index)] = part.schema
        items.restores.append(part.restore)
        if index < least or converter.dialect.nullable:
            items.required.append(item_name(index))
    rest = _add_rest(converter, node, path, items)
    schema: Schema = {**closed_object(items.properties), "required": [*items.required]}
    restore = from_tuple(items.restores, rest)
    return Part(described(schema, node, []), frozenset({"object"}), restore)


def _add_rest(converter: Converter, node: Schema, path: str, items: _Items) -> Restore | None:
    """Add the items after the first ones, if a tuple can have some."""
    first: Any = node["prefixItems"]
    most: Any = node.get("maxItems")
    least: Any = node.get("minItems", 0)
    has_rest = items.is_complete and (most is None or most > len(first))
    if not has_rest or not ("items" in node or least > len(first)):
        return None
    try:
        part = converter.part(node.get("items", True), f"{path}.items")
    except Impossible:
        return None
    items.properties[REST] = {"type": "array", "items": part.schema}
    items.required.append(REST)
    return part.restore


def object_part(converter: Converter, node: Schema, path: str) -> Part:
    """Convert an object with properties. An object without them is a map."""
    known: Any = node.get("properties", {})
    wanted: Any = node.get("required", [])
    others: Any = node.get("additionalProperties", True)
    missing = [name for name in wanted if name not in known]
    if missing and others is False:
        raise Impossible
    known = {**known, **dict.fromkeys(missing, others)}
    if not known:
        return _map_part(converter, node, path)
    originals: dict[str, Property] = {}
    properties: Schema = {}
    required: list[str] = []
    for name, schema in known.items():
        is_required = name in wanted
        try:
            part = converter.part(schema, f"{path}.properties.{name}", optional=not is_required)
        except Impossible:
            if is_required:
                raise
            continue
        safe = _property_name(name, properties)
        drops_null = not is_required and converter.dialect.nullable and "null" not in part.kinds
        properties[safe] = nullable(part.schema) if drops_null else part.schema
        originals[safe] = Property(name, part.restore, drops_null=drops_null)
        if is_required or converter.dialect.nullable:
            required.append(safe)
    counts = ("minProperties", "maxProperties", "dependentRequired")
    _, remarks = kept_keywords(node, counts, converter.dialect)
    schema = {**closed_object(properties), "required": [*required]}
    restore = from_object(originals)
    return Part(described(schema, node, remarks), frozenset({"object"}), restore)


def _property_name(name: str, taken: Schema) -> str:
    if _SAFE_PROPERTY.fullmatch(name) and name not in taken:
        return name
    wanted = re.sub(r"[^a-zA-Z0-9_-]+", "_", name)[:MAX_NAME] or "_"
    safe, number = wanted, 2
    while safe in taken:
        safe, number = f"{wanted}_{number}", number + 1
    return safe


def _map_part(converter: Converter, node: Schema, path: str) -> Part:
    """Convert an object without known properties: a list of entries, or an empty object."""
    patterns: Any = node.get("patternProperties", {})
    others: Any = node.get("additionalProperties", not patterns)
    schemas = [*patterns.values(), *([] if others is False else [others])]
    parts: list[Part] = []
    for index, schema in enumerate(schemas):
        try:
            parts.append(converter.part(schema, f"{path}.additionalProperties.{index}"))
        except Impossible:
            continue
    if not parts:
        empty = {**closed_object({}), "required": []}
        return Part(described(empty, node, []), frozenset({"object"}))
    value = either(parts, {}, converter.fits)
    key = _key_part(converter, node, path)
    counts: Schema = {
        items: node[properties]
        for items, properties in (("minItems", "minProperties"), ("maxItems", "maxProperties"))
        if properties in node
    }
    kept, remarks = kept_keywords(counts, ("minItems", "maxItems"), converter.dialect)
    if patterns:
        remarks.append("keys match " + " or ".join(json.dumps(name) for name in patterns))
    remarks.append("an entry for each key")
    entry = closed_object({KEY: key.schema, VALUE: value.schema})
    schema = described({"type": "array", "items": entry, **kept}, node, remarks)
    return Part(schema, frozenset({"array"}), from_entries(key.restore, value.restore))


def _key_part(converter: Converter, node: Schema, path: str) -> Part:
    text = Part({"type": "string"}, frozenset({"string"}))
    if "propertyNames" not in node:
        return text
    key = converter.part(node["propertyNames"], f"{path}.propertyNames")
    return key if key.kinds == {"string"} and key.restore is not from_json_text else text

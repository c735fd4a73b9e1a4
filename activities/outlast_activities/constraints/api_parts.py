"""Converted parts of a schema, and what all conversions of parts share."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from pydantic import JsonValue

from outlast.jsonschema.schemas import Schema
from outlast_activities.constraints.api_dialects import SchemaDialect
from outlast_activities.constraints.api_nodes import described, redescribed
from outlast_activities.constraints.api_values import (
    Branch,
    Restore,
    from_json_text,
    from_union,
    unchanged,
)

_ANY = "a JSON value, written as a JSON text"
_UNPORTABLE = re.compile(r"\(\?(?!:)|\\[1-9bBAzZpPkuGQEKRX]")
"""Parts of a pattern that the engines of hosted APIs do not read: look-around, references, classes."""


class NotExpressible(ValueError):
    """Raised when a schema has no form in a dialect. The message begins with the path."""


class Impossible(Exception):
    """Raised for a schema that no value satisfies."""


@dataclass(frozen=True)
class Part:
    """A converted part: its schema, the JSON types of its values, and the way back."""

    schema: Schema
    kinds: frozenset[str]
    restore: Restore = unchanged


class Converter(Protocol):
    """The conversion of one schema, as the conversion of a part sees it."""

    dialect: SchemaDialect

    def part(self, node: Any, path: str, *, optional: bool = False) -> Part:
        """Convert a schema at a path. Raises `Impossible` or `NotExpressible`."""
        ...

    def fits(self, value: JsonValue, schema: Schema) -> bool:
        """Return whether a value satisfies a converted schema."""
        ...


def json_text_part(node: Any) -> Part:
    """Return the part for a value of any type: a JSON text."""
    original = node if isinstance(node, dict) else {}
    return Part(
        described({"type": "string"}, original, [_ANY]), frozenset({"string"}), from_json_text
    )


def either(parts: list[Part], original: Schema, fits: Callable[[JsonValue, Schema], bool]) -> Part:
    """Return a union of parts, described as the original schema. Raises `Impossible` if there is none."""
    if not parts:
        raise Impossible
    unique = [
        part
        for number, part in enumerate(parts)
        if all(part.schema != other.schema for other in parts[:number])
    ]
    if len(unique) == 1:
        only = unique[0]
        return Part(redescribed(only.schema, original), only.kinds, only.restore)
    branches = [Branch(part.schema, part.kinds, part.restore) for part in unique]
    schema = described({"anyOf": [part.schema for part in unique]}, original, [])
    kinds = frozenset[str]().union(*(part.kinds for part in unique))
    return Part(schema, kinds, from_union(branches, fits))


def kept_keywords(
    node: Schema, keywords: tuple[str, ...], dialect: SchemaDialect
) -> tuple[Schema, list[str]]:
    """Return the keywords that an API accepts, and the others as remarks for the description."""
    kept: Schema = {}
    remarks: list[str] = []
    for keyword in keywords:
        if keyword not in node:
            continue
        if _is_accepted(keyword, node[keyword], dialect):
            kept[keyword] = node[keyword]
        else:
            remarks.append(f"{keyword}: {json.dumps(node[keyword], ensure_ascii=False)}")
    return kept, remarks


def _is_accepted(keyword: str, value: Any, dialect: SchemaDialect) -> bool:
    if keyword not in dialect.keywords:
        return False
    if keyword == "format":
        return value in dialect.formats
    if keyword == "pattern":
        return _UNPORTABLE.search(str(value)) is None
    if keyword == "minItems" and dialect.min_items is not None:
        return value in dialect.min_items
    return True

"""Schemas of OpenAPI documents as JSON Schemas of draft 2020-12, with their definitions beside them."""

import re
from collections.abc import Mapping
from typing import Any

from pydantic import JsonValue

from outlast.agents.openapi.documents import Document, Unusable
from outlast.jsonschema.keywords import BRANCHES, GROUPS, SCHEMA_KEYWORDS
from outlast.jsonschema.schemas import Schema
from outlast.text.texts import shown

MAX_DEPTH = 64
"""Levels of nesting of one schema."""

MAX_DEFINITIONS = 500
"""Schemas that one operation refers to."""

_LEFT_OUT = frozenset(
    {
        *("title", "example", "examples", "xml", "externalDocs", "discriminator"),
        *("$schema", "$comment", "$defs", "definitions"),
    }
)
"""Keywords that constrain nothing, and only cost tokens. Definitions are read where they are used."""

_UNSUPPORTED = ("$id", "$anchor", "$dynamicRef", "$dynamicAnchor", "$recursiveRef")


class SchemaReader:
    """Reads the schemas of one operation. `definitions` are those that they refer to."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._names: dict[str, str] = {}
        self._depth = 0
        self.definitions: dict[str, JsonValue] = {}

    def read(self, node: object, path: str) -> JsonValue:
        """Return a schema. Raises `Unusable` for what cannot be a schema of arguments."""
        if isinstance(node, bool):
            return node
        if not isinstance(node, Mapping):
            raise Unusable(f"{path}: {shown(node)} is not a JSON Schema")
        if self._depth >= MAX_DEPTH:
            raise Unusable(f"{path}: nested deeper than {MAX_DEPTH} levels")
        self._depth += 1
        try:
            return self._read(node, path)
        finally:
            self._depth -= 1

    def _read(self, node: Mapping[str, Any], path: str) -> Schema:
        kept: dict[str, Any] = {
            str(key): value
            for key, value in node.items()
            if key not in _LEFT_OUT and not str(key).startswith("x-")
        }
        for keyword in _UNSUPPORTED:
            if keyword in kept:
                raise Unusable(f"{path}.{keyword}: is not supported in schemas of tools")
        nullable = kept.pop("nullable", False) is True
        if "$ref" in kept:
            reference = self._reference(kept.pop("$ref"), path)
            if self._document.is_3_0 or not kept:
                return reference
            kept = {**kept, **reference}
        kept = self._without_read_only(kept, path)
        schema = {word: self._part(word, value, f"{path}.{word}") for word, value in kept.items()}
        return _with_null(schema) if nullable else schema

    def _part(self, keyword: str, value: Any, path: str) -> Any:
        """Return the value of a keyword, with the schemas in it."""
        if keyword in SCHEMA_KEYWORDS:
            return self.read(value, path)
        if keyword in GROUPS and isinstance(value, Mapping):
            return {str(name): self.read(child, f"{path}.{name}") for name, child in value.items()}
        if keyword in BRANCHES and isinstance(value, list):
            return [self.read(child, f"{path}.{at}") for at, child in enumerate(value)]
        return value

    def _reference(self, reference: object, path: str) -> Schema:
        target = self._document.target(reference, path)
        pointer = str(reference)
        if pointer not in self._names:
            if len(self._names) >= MAX_DEFINITIONS:
                raise Unusable(f"{path}: it refers to more than {MAX_DEFINITIONS} schemas")
            name = self._names[pointer] = self._new_name(pointer)
            self.definitions[name] = self.read(target, pointer)
        return {"$ref": f"#/$defs/{self._names[pointer]}"}

    def _new_name(self, pointer: str) -> str:
        base = re.sub(r"[^A-Za-z0-9_-]", "_", pointer.rpartition("/")[2]) or "schema"
        taken = set(self._names.values())
        return next(
            name
            for name in (base, *(f"{base}_{number}" for number in range(2, MAX_DEFINITIONS + 2)))
            if name not in taken
        )

    def _without_read_only(self, node: dict[str, Any], path: str) -> dict[str, Any]:
        """Leave out the fields that only answers have."""
        fields = node.get("properties")
        if not isinstance(fields, Mapping):
            return node
        left_out = [name for name, field in fields.items() if self._is_read_only(field, path)]
        if not left_out:
            return node
        required = node.get("required")
        kept = {name: field for name, field in fields.items() if name not in left_out}
        if isinstance(required, list):
            node = {**node, "required": [name for name in required if name not in left_out]}
        return {**node, "properties": kept}

    def _is_read_only(self, field: object, path: str) -> bool:
        if not isinstance(field, Mapping):
            return False
        if "$ref" in field:
            field = self._document.resolved(field, path)
        return field.get("readOnly") is True


def _with_null(schema: Schema) -> Schema:
    """Return a schema of OpenAPI 3.0 that is `nullable`."""
    kind, values = schema.get("type"), schema.get("enum")
    if not isinstance(kind, str):
        return {"anyOf": [schema, {"type": "null"}]} if schema else schema
    nullable: Schema = {**schema, "type": [kind, "null"]}
    if isinstance(values, list) and None not in values:
        nullable["enum"] = [*values, None]
    return nullable

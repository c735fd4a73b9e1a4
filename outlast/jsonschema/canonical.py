"""One form for JSON Schemas of all drafts: the words of 2020-12, and references to `$defs` alone.

The check, the division for engines and the schema of a decision read this form. So a draft, an `$id` or a
pointer has one meaning for all of them.
"""

import re
from dataclasses import dataclass, field
from typing import Any

from pydantic import JsonValue

from outlast.jsonschema.keywords import (
    ANNOTATIONS,
    CONSTRAINING,
    COUNTS,
    REFERENCES,
    draft_of,
    modern,
    with_children,
)
from outlast.jsonschema.references import References
from outlast.jsonschema.schemas import Schema

_UNSAFE = re.compile(r"[^A-Za-z0-9_.-]+")


@dataclass(frozen=True)
class Canonical:
    """A schema in the canonical form."""

    schema: Schema
    sources: dict[str, Schema] = field(default_factory=dict)
    """The original schema of each definition, by its name in `$defs`."""


def canonical_schema(schema: Schema) -> Schema:
    """Return an equivalent schema in the canonical form. Unknown keywords are left out.

    Raises `ValueError` for a reference that names nothing in the schema.
    """
    return canonical_form(schema).schema


def canonical_form(schema: Schema) -> Canonical:
    """Return a schema in the canonical form, and where its definitions come from."""
    conversion = _Conversion(schema)
    return Canonical(conversion.convert(), conversion.sources)


class _Conversion:
    def __init__(self, schema: Schema) -> None:
        self._root = schema
        self._draft = draft_of(schema)
        self._references = References(schema)
        self._names: dict[int, str] = {}
        self.sources: dict[str, Schema] = {}

    def convert(self) -> Schema:
        converted: Any = self._converted(self._root)
        if converted is False:
            converted = {"not": {}}
        definitions: Schema = {}
        while len(definitions) < len(self.sources):
            for name, source in [*self.sources.items()][len(definitions) :]:
                definitions[name] = self._converted(source)
        return {**converted, "$defs": definitions} if definitions else converted

    def _converted(self, node: JsonValue) -> JsonValue:
        if not isinstance(node, dict):
            return node
        kept: Schema = {}
        references: list[JsonValue] = []
        for keyword, value in modern(node, self._draft).items():
            if keyword in REFERENCES:
                references.append(self._reference(keyword, value, node))
            elif keyword in COUNTS and isinstance(value, float):
                kept[keyword] = int(value)
            elif keyword in CONSTRAINING or keyword in ANNOTATIONS:
                kept[keyword] = value
        kept = with_children(kept, self._converted)
        if references == [False]:
            return False
        if len(references) == 1 and isinstance(references[0], dict):
            return {**references[0], **kept}
        others: Any = kept.get("allOf", [])
        return {**kept, "allOf": [*others, *references]} if references else kept

    def _reference(self, keyword: str, value: Any, node: Schema) -> JsonValue:
        target = self._references.target(value, node)
        if target is None:
            raise ValueError(f"{keyword} {value!r} names nothing in this schema")
        if keyword == "$dynamicRef" and self._references.is_ambiguous(value):
            raise ValueError(f"{keyword} {value!r} names more than one schema")
        return {"$ref": self._named(target, value)} if isinstance(target, dict) else target

    def _named(self, target: Schema, reference: str) -> str:
        if target is self._root:
            return "#"
        name = self._names.get(id(target))
        if name is None:
            name = self._new_name(reference)
            self._names[id(target)] = name
            self.sources[name] = target
        return f"#/$defs/{name}"

    def _new_name(self, reference: str) -> str:
        last = reference.rpartition("/")[2].rpartition("#")[2]
        wanted = _UNSAFE.sub("_", last) or "definition"
        name, number = wanted, 2
        while name in self.sources:
            name, number = f"{wanted}_{number}", number + 1
        return name

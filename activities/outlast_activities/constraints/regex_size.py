"""The size of the regular expression that outlines makes of a schema.

outlines_core 0.2.14 writes a whole schema as one regular expression. It writes each reference out, and the
items of a list twice. If no property of an object is required, it writes all of them once for each. So the
expression of a small schema can have gigabytes, which the model server makes before it answers.
"""

from typing import Any

from outlast.jsonschema.schemas import Schema
from outlast_activities.constraints.api_references import SchemaReferences

MAX_REGEX_SIZE = 250_000
"""The largest regular expression that outlines gets. One of 200,000 characters compiles in 2 s."""

_CAP = 10**12
_RECURSIONS = 5
"""How often outlines writes out a schema that refers to itself."""

_ANY = 13_900
_OPEN = 6_900
_SIZES = {
    "array": _OPEN,
    "object": _OPEN,
    "string": 50,
    "number": 50,
    "integer": 20,
    "boolean": 15,
    "null": 5,
}
_AROUND = 30
"""Characters around the name of a property, and around an item."""

_FORMAT = 300


def regex_size(schema: Schema) -> int:
    """Return about how many characters the regular expression of a schema has, rather more than less."""
    try:
        return _Sizes(schema).of(schema, _RECURSIONS)
    except RecursionError:  # a chain of a thousand references
        return _CAP


class _Sizes:
    """The sizes of the parts of one schema. Each definition is visited once for each depth."""

    def __init__(self, root: Schema) -> None:
        self._references = SchemaReferences(root)
        self._known: dict[tuple[str, int], int] = {}

    def of(self, node: Any, recursions: int) -> int:
        """Return the size of a part below which `recursions` are left."""
        if not isinstance(node, dict) or not node:
            return _ANY
        return min(_CAP, self._size(node, recursions))

    def _size(self, node: dict[str, Any], recursions: int) -> int:
        if "$ref" in node:
            return self._referenced(str(node["$ref"]), recursions)
        if node.get("properties"):
            return self._properties(node, recursions)
        parts = [*node.get("anyOf", ()), *node.get("prefixItems", ())]
        written_twice = [
            node[key] for key in ("items", "additionalProperties") if _is_part(node, key)
        ]
        if not parts and not written_twice:
            return _scalar(node)
        sizes = [self.of(part, recursions) + _AROUND for part in (*parts, *written_twice * 2)]
        return sum(sizes)

    def _referenced(self, reference: str, recursions: int) -> int:
        if self._references.is_recursive(reference):
            recursions -= 1
        if recursions == 0:
            return 0
        key = (reference, recursions)
        if key not in self._known:
            self._known[key] = self.of(self._references.target(reference), recursions)
        return self._known[key]

    def _properties(self, node: dict[str, Any], recursions: int) -> int:
        properties: dict[str, Any] = node["properties"]
        size = sum(
            2 * len(name) + _AROUND + self.of(part, recursions) for name, part in properties.items()
        )
        return size if node.get("required") else size * len(properties)


def _is_part(node: dict[str, Any], keyword: str) -> bool:
    return isinstance(node.get(keyword), dict)


def _scalar(node: dict[str, Any]) -> int:
    if "enum" in node or "const" in node:
        values = node.get("enum", [node.get("const")])
        return sum(2 * len(repr(value)) + 5 for value in values)
    kinds = node.get("type")
    text = len(str(node.get("pattern", ""))) + (_FORMAT if "format" in node else 0)
    names = kinds if isinstance(kinds, list | tuple) else [kinds]
    return text + sum(_SIZES.get(str(name), _ANY) for name in names)

"""References in a JSON Schema: JSON pointers, `$id`, `$anchor` and names relative to them."""

from typing import Any
from urllib.parse import unquote, urljoin

from pydantic import JsonValue

from outlast.jsonschema.keywords import children
from outlast.jsonschema.schemas import Schema


class References:
    """The schemas of one document that a reference can name. Other documents are never read."""

    def __init__(self, schema: Schema) -> None:
        self._root = schema
        self._resources: dict[str, Schema] = {}
        self._anchors: dict[tuple[str, str], Schema] = {}
        self._dynamic: dict[str, int] = {}
        self._bases: dict[int, str] = {}
        self._index(schema, "")
        self._resources.setdefault("", schema)

    def target(self, reference: Any, node: Schema) -> JsonValue:
        """Return the schema that a reference of `node` names, or None."""
        if not isinstance(reference, str):
            return None
        base = self._bases.get(id(node), "")
        name, _, fragment = reference.partition("#")
        uri = _joined(base, name) if name else base
        resource = self._resources.get(uri)
        if resource is None and name:
            return None
        target = self._named(uri, resource or self._root, unquote(fragment))
        if target is None and not name:
            # Generators write `id` everywhere, and pointers from the root of the document.
            target = _pointed(self._root, unquote(fragment))
        if isinstance(target, dict) and id(target) not in self._bases:
            self._index(target, uri)
        return target

    def is_ambiguous(self, reference: str) -> bool:
        """Return whether a `$dynamicRef` can name different schemas in different places."""
        return self._dynamic.get(reference.rpartition("#")[2], 0) > 1

    def _named(self, uri: str, resource: Schema, fragment: str) -> JsonValue:
        if not fragment:
            return resource
        if fragment.startswith("/"):
            return _pointed(resource, fragment)
        return self._anchors.get((uri, fragment))

    def _index(self, schema: Schema, base: str) -> None:
        waiting = [(schema, base)]
        while waiting:
            node, uri = waiting.pop()
            if id(node) in self._bases:
                continue
            uri = self._identified(node, uri)
            self._bases[id(node)] = uri
            for keyword in ("$anchor", "$dynamicAnchor"):
                anchor = node.get(keyword)
                if isinstance(anchor, str):
                    self._anchors.setdefault((uri, anchor), node)
            dynamic = node.get("$dynamicAnchor")
            if isinstance(dynamic, str):
                self._dynamic[dynamic] = self._dynamic.get(dynamic, 0) + 1
            waiting.extend((child, uri) for child, _ in children(node) if isinstance(child, dict))

    def _identified(self, node: Schema, base: str) -> str:
        """Return the base of a schema, which its `$id` or, in draft 4, its `id` can change."""
        identifier = node.get("$id", node.get("id"))
        if not isinstance(identifier, str) or not identifier:
            return base
        name, _, anchor = identifier.partition("#")
        uri = _joined(base, name) if name else base
        if anchor:
            self._anchors.setdefault((uri, anchor), node)
        elif name:
            self._resources.setdefault(uri, node)
        return uri


def _joined(base: str, name: str) -> str:
    try:
        return urljoin(base, name)
    except ValueError:
        return name


def _pointed(resource: JsonValue, pointer: str) -> JsonValue:
    if pointer and not pointer.startswith("/"):
        return None
    node: JsonValue = resource
    for part in pointer.split("/")[1:]:
        step = part.replace("~1", "/").replace("~0", "~")
        if isinstance(node, dict):
            node = node.get(step)
        elif isinstance(node, list) and step.isdecimal() and len(step) < 6:
            index = int(step)
            node = node[index] if index < len(node) else None
        else:
            return None
    return node if isinstance(node, dict | bool) else None

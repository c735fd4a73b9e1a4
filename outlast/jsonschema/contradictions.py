"""Contradictions in JSON Schemas: what no finite value satisfies.

A schema is empty when its own keywords exclude each other or when it needs an empty one. References make
that a fixpoint: a definition has a finite instance once all that it needs have one. In doubt it has.
"""

import math
import re
from collections import deque
from collections.abc import Iterator
from typing import Any

from outlast.jsonschema.node_contradictions import (
    Contradiction,
    crossed,
    kinds_of,
    numbers,
    strings,
    values,
)
from outlast.jsonschema.schemas import Schema

_IN_PLACE = ("anyOf", "oneOf", "allOf", "not", "if", "then", "else")


def contradiction_in(schema: Schema, path: str) -> Contradiction | None:
    """Return the first contradiction of a well-formed schema, or None.

    Properties and items that may be left out count too: what can never be given was not meant. Branches
    count only if no other is left, and nothing inside `not`, `if`, `then` and `else` does.
    """
    return _circle(schema, path) or _Search(schema, path).first()


class _Search:
    """Finds the empty parts of one schema."""

    def __init__(self, schema: Schema, path: str) -> None:
        self._path = path
        self._nodes: dict[str, tuple[Any, str]] = dict(_definitions(schema, path))
        self._finite: set[str] = set()
        self._known: dict[int, Contradiction | None] = {}
        self._find_finite()

    def first(self) -> Contradiction | None:
        waiting = deque([self._nodes["#"]])
        seen: set[int] = set()
        while waiting:
            node, path = waiting.popleft()
            if not isinstance(node, dict) or id(node) in seen:
                continue
            seen.add(id(node))
            found = self._why(node, path)
            if found is not None:
                return self._explained(found)
            waiting.extend(_parts(node, path))
            reference = node.get("$ref")
            if isinstance(reference, str):
                waiting.append(self._nodes[reference])
        return None

    def _find_finite(self) -> None:
        needed_by: dict[str, set[str]] = {}
        for name, (node, _) in self._nodes.items():
            for reference in _references(node):
                needed_by.setdefault(reference, set()).add(name)
        waiting = list(self._nodes)
        while waiting:
            again: set[str] = set()
            for name in waiting:
                self._known.clear()
                if name not in self._finite and self._why(*self._nodes[name]) is None:
                    self._finite.add(name)
                    again |= needed_by.get(name, set())
            waiting = [name for name in again if name not in self._finite]
        self._known.clear()

    def _explained(self, found: Contradiction) -> Contradiction:
        seen: set[str] = set()
        while found.target is not None and found.target not in seen:
            seen.add(found.target)
            inner = self._why(*self._nodes[found.target])
            if inner is None:
                break
            found = inner
        return found

    def _why(self, node: Any, path: str) -> Contradiction | None:
        if isinstance(node, bool):
            return None if node else Contradiction(path, "false admits nothing; leave it out")
        if id(node) not in self._known:
            self._known[id(node)] = self._why_object(node, path)
        return self._known[id(node)]

    def _why_object(self, node: Schema, path: str) -> Contradiction | None:
        reference = node.get("$ref")
        if isinstance(reference, str) and reference not in self._finite:
            return Contradiction(
                f"{path}.$ref",
                f"{reference!r} needs itself without end; make it optional, nullable, or a list that "
                "may be empty",
                target=reference,
            )
        if node.get("not") in ({}, True):
            return Contradiction(f"{path}.not", "excludes everything; leave it out")
        return values(node, path) or self._branches(node, path) or self._of_types(node, path)

    def _branches(self, node: Schema, path: str) -> Contradiction | None:
        for keyword in ("allOf", "anyOf", "oneOf"):
            branches = node.get(keyword)
            if not isinstance(branches, list):
                continue
            whole = keyword == "allOf"
            reasons: list[Contradiction] = []
            for index, branch in enumerate(branches):
                found = self._why(branch, f"{path}.{keyword}.{index}")
                if found is not None:
                    reasons.append(found)
                if (found is None) != whole:
                    break
            if reasons and (whole or len(reasons) == len(branches)):
                return reasons[0]
        return None

    def _of_types(self, node: Schema, path: str) -> Contradiction | None:
        """Return why the first type is empty, if all are. Without a type, its keywords tell it."""
        if "enum" in node or "const" in node:
            return None
        checks = {
            "number": numbers,
            "integer": numbers,
            "string": strings,
            "array": self._arrays,
            "object": self._objects,
        }
        reasons = [checks[kind](node, path) if kind in checks else None for kind in kinds_of(node)]
        return reasons[0] if reasons and all(reasons) else None

    def _arrays(self, node: Schema, path: str) -> Contradiction | None:
        least: Any = node.get("minItems", 0)
        backwards = crossed(node, path, "minItems", "maxItems")
        if backwards is not None:
            return backwards
        first: Any = node.get("prefixItems", [])
        for index, item in enumerate(first[:least]):
            if (found := self._why(item, f"{path}.prefixItems.{index}")) is not None:
                return found
        if least > len(first):
            if node.get("items") is False:
                return Contradiction(f"{path}.minItems", f"{least} items, and 'items' forbids them")
            return self._why(node.get("items", True), f"{path}.items")
        return None

    def _objects(self, node: Schema, path: str) -> Contradiction | None:
        backwards = crossed(node, path, "minProperties", "maxProperties")
        if backwards is not None:
            return backwards
        properties: Any = node.get("properties", {})
        patterns: Any = node.get("patternProperties", {})
        others: Any = node.get("additionalProperties", True)
        required: Any = node.get("required", [])
        if len(set(required)) > node.get("maxProperties", math.inf):  # type: ignore[operator]
            return Contradiction(f"{path}.maxProperties", "is less than the properties required")
        closed = others is False and not patterns
        if closed and node.get("minProperties", 0) > len(properties):  # type: ignore[operator]
            return Contradiction(f"{path}.minProperties", "is more than the properties there are")
        for name in required:
            found = None
            if name in properties:
                found = self._why(properties[name], f"{path}.properties.{name}")
            elif not any(re.search(pattern, name) for pattern in patterns):
                found = self._why(others, f"{path}.additionalProperties")
                if others is False:
                    reason = f"{name!r} is no property, and additionalProperties forbids others"
                    return Contradiction(f"{path}.required", f"{reason}; add it to 'properties'")
            if found is not None:
                return found
        return None


def _parts(node: Schema, path: str) -> Iterator[tuple[Any, str]]:
    for keyword in ("properties", "patternProperties"):
        group: Any = node.get(keyword, {})
        yield from ((part, f"{path}.{keyword}.{name}") for name, part in group.items())
    for keyword in ("items", "additionalProperties"):
        yield node.get(keyword), f"{path}.{keyword}"
    for keyword in ("prefixItems", "allOf"):
        group = node.get(keyword, [])
        yield from ((part, f"{path}.{keyword}.{index}") for index, part in enumerate(group))


def _definitions(schema: Schema, path: str) -> Iterator[tuple[str, tuple[Any, str]]]:
    yield "#", (schema, path)
    for group in ("$defs", "definitions"):
        inner: Any = schema.get(group, {})
        for name, node in inner.items():
            yield f"#/{group}/{name}", (node, f"{path}.{group}.{name}")


def _references(node: Any, *, in_place: bool = False) -> set[str]:
    """Return the references of a schema: all, or those that are about the same value as it is."""
    found: set[str] = set()
    waiting = [node]
    while waiting:
        part = waiting.pop()
        if isinstance(part, list):
            waiting.extend(part)
        elif isinstance(part, dict):
            if isinstance(part.get("$ref"), str):
                found.add(part["$ref"])
            keys = _IN_PLACE if in_place else (key for key in part if key not in ("$defs",))
            waiting.extend(part[key] for key in keys if key in part)
    return found


def _circle(schema: Schema, path: str) -> Contradiction | None:
    """Find references that only go in circles: a validator would follow them for ever."""
    nodes = dict(_definitions(schema, path))
    follows = {name: _references(node, in_place=True) for name, (node, _) in nodes.items()}
    leads_to = {name: len(names) for name, names in follows.items()}
    reached_from: dict[str, list[str]] = {}
    for name, names in follows.items():
        for other in names:
            reached_from.setdefault(other, []).append(name)
    done = [name for name, count in leads_to.items() if not count]
    while done:
        for name in reached_from.get(done.pop(), []):
            leads_to[name] -= 1
            if not leads_to[name]:
                done.append(name)
    circling = [name for name, count in leads_to.items() if count]
    if not circling:
        return None
    name = circling[0]
    passed: set[str] = set()
    while name not in passed:
        passed.add(name)
        name = min(other for other in follows[name] if leads_to[other])
    reason = f"{name!r} refers to itself in a circle; write out what it is"
    return Contradiction(nodes[name][1], reason)

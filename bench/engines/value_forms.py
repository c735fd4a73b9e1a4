"""The forms of a valid value that an engine may demand: its order of properties, and no undeclared ones."""

import json
from collections.abc import Iterator
from typing import Any

MAX_REFERENCES = 20
"""References that lead to one another."""


def forms(value: Any, schema: dict[str, Any]) -> list[str]:
    """Return a value as text: as it is, in the order of the schema, and without undeclared properties."""
    found = [
        value,
        _ordered(value, schema, schema, keeps_undeclared=True),
        _ordered(value, schema, schema, keeps_undeclared=False),
    ]
    texts = (json.dumps(form, ensure_ascii=False, separators=(",", ":")) for form in found)
    return list(dict.fromkeys(texts))


def _ordered(value: Any, schema: Any, root: dict[str, Any], *, keeps_undeclared: bool) -> Any:
    parts = list(_parts(schema, root, MAX_REFERENCES))
    if isinstance(value, list):
        items = [part["items"] for part in parts if isinstance(part.get("items"), dict)]
        item = {"allOf": items}
        prefix: list[Any] = next(
            (part["prefixItems"] for part in parts if "prefixItems" in part), []
        )
        schemas = [*prefix[: len(value)], *([item] * (len(value) - len(prefix)))]
        return [
            _ordered(each, of, root, keeps_undeclared=keeps_undeclared)
            for each, of in zip(value, schemas, strict=True)
        ]
    if not isinstance(value, dict):
        return value
    declared: dict[str, list[Any]] = {}
    for part in parts:
        for name, of in part.get("properties", {}).items():
            declared.setdefault(name, []).append(of)
    closed = {
        name: _ordered(value[name], {"allOf": schemas}, root, keeps_undeclared=keeps_undeclared)
        for name, schemas in declared.items()
        if name in value
    }
    extra = [part["additionalProperties"] for part in parts if "additionalProperties" in part]
    others = {
        name: _ordered(each, {"allOf": extra}, root, keeps_undeclared=keeps_undeclared)
        for name, each in value.items()
        if name not in declared
    }
    is_open = keeps_undeclared or any(of is not False for of in extra)
    return {**closed, **(others if is_open else {})}


def _parts(schema: Any, root: dict[str, Any], depth: int) -> Iterator[dict[str, Any]]:
    """Yield a schema and those that it refers to or combines."""
    if not isinstance(schema, dict) or depth == 0:
        return
    yield schema
    reference = schema.get("$ref")
    if isinstance(reference, str) and reference.startswith("#"):
        target: Any = root
        for step in reference[1:].split("/")[1:]:
            target = target.get(step.replace("~1", "/").replace("~0", "~"), {})
        yield from _parts(target, root, depth - 1)
    for keyword in ("allOf", "anyOf", "oneOf"):
        for branch in schema.get(keyword, ()):
            yield from _parts(branch, root, depth - 1)

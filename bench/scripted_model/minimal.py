"""The smallest instance of a JSON Schema: the default completion of a scripted model."""

import json
from collections.abc import Callable
from typing import Any

Schema = dict[str, Any]

MAX_DEPTH = 64
"""Nesting at which a schema counts as endless: one that requires itself has no instance."""

_FORMATS = {
    "date": "1970-01-01",
    "date-time": "1970-01-01T00:00:00Z",
    "time": "00:00:00Z",
    "duration": "PT0S",
    "email": "a@b.cc",
    "uri": "http://a",
    "uuid": "00000000-0000-0000-0000-000000000000",
}


class UnsatisfiableError(ValueError):
    """Raised for a schema that has no instance, or none that this module can make."""


def minimal_instance(schema: Any, root: Schema, *, depth: int = 0) -> Any:
    """Return the smallest instance of `schema` (or of true), whose references point into `root`.

    Raises `UnsatisfiableError` for what it does not know (`pattern`, `allOf`, `multipleOf`).
    """
    if depth > MAX_DEPTH:
        raise UnsatisfiableError("the schema requires itself")
    if schema is False:
        raise UnsatisfiableError("the schema is false")
    if schema is True:
        return None
    node = resolved(schema, root)
    unknown = {"pattern", "allOf", "multipleOf", "not"} & node.keys()
    if unknown:
        raise UnsatisfiableError(f"{sorted(unknown)[0]!r} is more than this module knows")
    if "const" in node:
        return node["const"]
    if "enum" in node:
        return node["enum"][0]
    options = node.get("anyOf", node.get("oneOf"))
    if options is not None:
        return _smallest(options, root, depth)
    return _of_type(node, root, depth)


def resolved(schema: Schema, root: Schema) -> Schema:
    """Follow the references of a schema until it is one that says something itself."""
    for _ in range(MAX_DEPTH):
        if "$ref" not in schema:
            return schema
        reference: str = schema["$ref"]
        if not reference.startswith("#"):
            raise UnsatisfiableError(f"{reference!r} lies outside the schema")
        schema = root
        for step in filter(None, reference[1:].split("/")):
            schema = schema[step.replace("~1", "/").replace("~0", "~")]
    raise UnsatisfiableError("the references of the schema form a circle")


def _smallest(options: list[Schema], root: Schema, depth: int) -> Any:
    instances: list[Any] = []
    reasons: list[str] = []
    for option in options:
        try:
            instances.append(minimal_instance(option, root, depth=depth + 1))
        except UnsatisfiableError as error:
            reasons.append(str(error))
    if not instances:
        raise UnsatisfiableError("; ".join(reasons) or "a choice without options")
    return min(instances, key=lambda instance: len(json.dumps(instance)))


def _of_type(node: Schema, root: Schema, depth: int) -> Any:
    kind = node.get("type", "object" if "properties" in node else None)
    if isinstance(kind, list):
        return _smallest([{**node, "type": name} for name in kind], root, depth)
    if kind is None:
        return None
    make = _MAKERS.get(kind)
    if make is None:
        raise UnsatisfiableError(f"type {kind!r} is unknown")
    return make(node, root, depth)


def _object(node: Schema, root: Schema, depth: int) -> Any:
    properties = node.get("properties", {})
    return {
        name: minimal_instance(properties.get(name, True), root, depth=depth + 1)
        for name in node.get("required", ())
    }


def _array(node: Schema, root: Schema, depth: int) -> Any:
    least = node.get("minItems", 0)
    first = [
        minimal_instance(item, root, depth=depth + 1)
        for item in node.get("prefixItems", ())[:least]
    ]
    rest = least - len(first)
    if not rest:
        return first
    return first + [minimal_instance(node.get("items", True), root, depth=depth + 1)] * rest


def _string(node: Schema, _root: Schema, _depth: int) -> Any:
    return _FORMATS.get(node.get("format", ""), "x" * node.get("minLength", 0))


def _number(node: Schema, _root: Schema, _depth: int) -> Any:
    step = 1 if node["type"] == "integer" else 0.5
    least = node.get("minimum", node.get("exclusiveMinimum"))
    most = node.get("maximum", node.get("exclusiveMaximum"))
    if least is not None and (least > 0 or (least == 0 and "exclusiveMinimum" in node)):
        return least if "minimum" in node else least + step
    if most is not None and (most < 0 or (most == 0 and "exclusiveMaximum" in node)):
        return most if "maximum" in node else most - step
    return 0


_MAKERS: dict[str, Callable[[Schema, Schema, int], Any]] = {
    "object": _object,
    "array": _array,
    "string": _string,
    "integer": _number,
    "number": _number,
    "boolean": lambda _node, _root, _depth: False,
    "null": lambda _node, _root, _depth: None,
}

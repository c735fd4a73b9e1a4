"""Plausible values of a JSON Schema: the smallest ones that its keywords describe, for tests."""

from typing import Any

from pydantic import JsonValue

from outlast.jsonschema.schemas import Schema

MAX_DEPTH = 40
"""Levels of a value. A type that refers to itself ends at its optional parts."""

_FORMATS: dict[str, str] = {
    "date": "2026-01-01",
    "date-time": "2026-01-01T00:00:00Z",
    "time": "00:00:00Z",
    "duration": "P1D",
    "email": "ann@example.com",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "uri": "https://example.com",
    "ipv4": "127.0.0.1",
    "ipv6": "::1",
}


class NoPlausibleValue(AssertionError):
    """Raised for a schema without a value that can be guessed, such as one with a pattern."""


def plausible_value(schema: Schema) -> JsonValue:
    """Return a value of a canonical schema. Raises `NoPlausibleValue` if it cannot guess one."""
    return _value(schema, schema, 0)


def _value(schema: Any, root: Schema, depth: int) -> JsonValue:
    if depth > MAX_DEPTH:
        raise NoPlausibleValue("the schema has no small value")
    if not isinstance(schema, dict):
        return "text"
    if "$ref" in schema:
        return _value(_target(schema["$ref"], root), root, depth + 1)
    for name in ("const", "default"):
        if name in schema:
            given: JsonValue = schema[name]
            return given
    for name in ("enum", "examples"):
        if schema.get(name):
            first: JsonValue = schema[name][0]
            return first
    for name in ("anyOf", "oneOf", "allOf"):
        if schema.get(name):
            return _first_of(schema[name], root, depth)
    kind = schema.get("type", "object" if "properties" in schema else "string")
    kind = kind[0] if isinstance(kind, list) else kind
    return _of_type(kind, schema, root, depth)


def _first_of(schemas: list[Any], root: Schema, depth: int) -> JsonValue:
    problem: NoPlausibleValue | None = None
    for schema in schemas:
        try:
            return _value(schema, root, depth + 1)
        except NoPlausibleValue as error:
            problem = error
    raise problem or NoPlausibleValue("the schema has no values")


def _of_type(kind: str, schema: Schema, root: Schema, depth: int) -> JsonValue:
    match kind:
        case "object":
            properties: Any = schema.get("properties", {})
            required: Any = schema.get("required", [])
            return {name: _value(properties.get(name, {}), root, depth + 1) for name in required}
        case "array":
            first: Any = list(schema.get("prefixItems", []))  # type: ignore[arg-type]
            items: Any = schema.get("items", {})
            rest = max(0, int(str(schema.get("minItems", 0))) - len(first))
            return [_value(item, root, depth + 1) for item in [*first, *[items] * rest]]
        case "integer" | "number":
            return _number(schema, is_whole=kind == "integer")
        case "boolean":
            return False
        case "null":
            return None
        case _:
            return _text(schema)


def _number(schema: Any, *, is_whole: bool) -> int | float:
    step = schema.get("multipleOf", 1 if is_whole else 0)
    lowest = schema.get("minimum", schema.get("exclusiveMinimum"))
    highest = schema.get("maximum", schema.get("exclusiveMaximum"))
    candidates: list[Any] = [0, 1, lowest, highest]
    if lowest is not None:
        candidates += [lowest + (step or 1), lowest + 0.5]
    if highest is not None:
        candidates += [highest - (step or 1), highest - 0.5]
    if step:
        candidates += [
            step * (bound // step + 1) for bound in (lowest, highest) if bound is not None
        ]
    for number in candidates:
        if number is not None and _is_in_range(number, schema) and not (step and number % step):
            result: int | float = number
            return result
    raise NoPlausibleValue(f"no number can be guessed for {schema!r}")


def _is_in_range(number: float, schema: Any) -> bool:
    return (
        number >= schema.get("minimum", number)
        and number <= schema.get("maximum", number)
        and ("exclusiveMinimum" not in schema or number > schema["exclusiveMinimum"])
        and ("exclusiveMaximum" not in schema or number < schema["exclusiveMaximum"])
    )


def _text(schema: Any) -> str:
    if "pattern" in schema:
        raise NoPlausibleValue(f"no text can be guessed for the pattern {schema['pattern']!r}")
    text = _FORMATS.get(schema.get("format", ""), "text")
    text = text.ljust(schema.get("minLength", 0), "x")
    return text[: schema["maxLength"]] if "maxLength" in schema else text


def _target(reference: str, root: Schema) -> Any:
    target: Any = root
    for part in reference.removeprefix("#").split("/")[1:]:
        target = target[part.replace("~1", "/").replace("~0", "~")]
    return target

"""What hosted APIs refuse of the schemas of structured outputs: rules of November 2026, with sources.

Each function returns what the service would say, or None. The rules were read from the vendors' guides,
from error messages in public issues, and from the profiles of pydantic-ai 2.68 ("verified live"). They are
written apart from the converter under test.
"""

import re
from collections.abc import Iterator
from typing import Any

OPENAI_FORMATS = {
    *("date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"),
}
ANTHROPIC_FORMATS = OPENAI_FORMATS | {"uri"}

_OPENAI_KNOWN = {
    *("type", "properties", "required", "additionalProperties", "items", "enum", "const", "anyOf"),
    *("$ref", "$defs", "definitions", "description", "title", "pattern", "format"),
    *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
    *("minItems", "maxItems", "minLength", "maxLength"),
}
_ANTHROPIC_KNOWN = {
    *("type", "properties", "required", "additionalProperties", "items", "enum", "const", "anyOf"),
    *("allOf", "$ref", "$defs", "description", "title", "pattern", "format", "minItems", "default"),
}
_GEMINI_KNOWN = {
    *("$id", "$defs", "$ref", "$anchor", "type", "format", "title", "description", "enum", "items"),
    *("prefixItems", "minItems", "maxItems", "minimum", "maximum", "anyOf", "oneOf", "properties"),
    *("additionalProperties", "required", "propertyOrdering"),
}
_LOOKAROUND = re.compile(r"\(\?[=!<]")
_NOT_REGULAR = re.compile(r"\(\?[=!<]|\\[1-9bB]")
_PROPERTY_KEY = re.compile(r"[a-zA-Z0-9_.-]{1,64}")

Place = tuple[str, ...]


def nodes(schema: Any, place: Place = ()) -> Iterator[tuple[Place, Any]]:
    """Yield each schema in a schema, with its place."""
    yield place, schema
    if not isinstance(schema, dict):
        return
    for keyword in ("properties", "$defs", "definitions", "patternProperties"):
        for name, part in schema.get(keyword, {}).items():
            yield from nodes(part, (*place, keyword, name))
    for keyword in ("anyOf", "oneOf", "allOf", "prefixItems"):
        for index, part in enumerate(schema.get(keyword, [])):
            yield from nodes(part, (*place, keyword, str(index)))
    for keyword in ("items", "additionalProperties", "not", "contains", "propertyNames"):
        if keyword in schema and not isinstance(schema[keyword], bool):
            yield from nodes(schema[keyword], (*place, keyword))


def recursive(schema: Any, *, past_optional: bool = False) -> bool:
    """Return whether a definition contains itself; optionally only by way of required parts."""
    definitions = schema.get("$defs", {})

    def references(node: Any) -> Iterator[str]:
        if not isinstance(node, dict):
            return
        if "$ref" in node:
            yield node["$ref"].removeprefix("#/$defs/")
        for name, part in node.get("properties", {}).items():
            if not past_optional or name in node.get("required", []):
                yield from references(part)
        for keyword in ("anyOf", "oneOf", "allOf", "prefixItems"):
            for part in node.get(keyword, []):
                yield from references(part)
        for keyword in ("items", "additionalProperties"):
            yield from references(node.get(keyword))

    for name in definitions:
        reached: set[str] = set()
        waiting = list(references(definitions[name]))
        while waiting:
            other = waiting.pop()
            if other not in reached:
                reached.add(other)
                waiting.extend(references(definitions.get(other, {})))
        if name in reached:
            return True
    return False


def openai_problem(schema: Any) -> str | None:
    """OpenAI's strict schemas. Source: its guide to structured outputs (2026-10), and its messages."""
    if schema.get("type") != "object" or "anyOf" in schema:
        return "schema must be a JSON Schema of 'type: \"object\"', got 'type: \"None\"'."
    for place, node in nodes(schema):
        problem = _openai_node_problem(node)
        if problem is not None:
            return f"In context={place}, {problem}"
    return _openai_size_problem(schema)


def _openai_node_problem(node: Any) -> str | None:
    if not isinstance(node, dict) or not node.keys() & {"type", "anyOf", "$ref", "enum", "const"}:
        return "schema must have a 'type' key."
    unknown = node.keys() - _OPENAI_KNOWN
    if unknown:
        return f"'{min(unknown)}' is not permitted."
    if "$ref" in node and node.keys() - {"$ref"}:
        return f"$ref cannot have keywords {sorted(node.keys() - {'$ref'})}."
    if node.get("type") == "object":
        if node.get("additionalProperties") is not False:
            return "'additionalProperties' is required to be supplied and to be false."
        missing = [
            name for name in node.get("properties", {}) if name not in node.get("required", [])
        ]
        if missing or set(node.get("required", [])) - set(node.get("properties", {})):
            return (
                "'required' is required to be supplied and to be an array including every key in "
                f"properties. Missing '{(missing or ['?'])[0]}'."
            )
    if node.get("type") == "array" and not isinstance(node.get("items"), dict):
        return "array schema missing items."
    if node.get("format") is not None and node["format"] not in OPENAI_FORMATS:
        return f"'{node['format']}' is not a valid format."
    if _LOOKAROUND.search(node.get("pattern", "")):
        return "'pattern' must not use look-around."
    return None


def _openai_size_problem(schema: Any) -> str | None:
    found = [node for _, node in nodes(schema)]
    values = [value for node in found for value in node.get("enum", [])]
    depth = max(
        sum(step in ("properties", "items") for step in place) for place, _ in nodes(schema)
    )
    if sum(len(node.get("properties", {})) for node in found) > 5_000:
        return "Invalid schema: too many properties (maximum 5000)."
    if len(values) > 1_000:
        return "Invalid schema: too many enum values (maximum 1000)."
    if depth > 10:
        return f"Invalid schema: {depth} levels of nesting exceeds limit of 10."
    return None


def anthropic_problem(schema: Any) -> str | None:
    """Anthropic's structured outputs. Source: its guide (version 2026-10-21), SDK 2.14."""
    if recursive(schema):
        return "Circular reference detected in schema definitions"
    for _, node in nodes(schema):
        problem = _anthropic_node_problem(node)
        if problem is not None:
            return problem
    return None


def _anthropic_node_problem(node: Any) -> str | None:
    if not isinstance(node, dict):
        return "Schema must be an object"
    kind = node.get("type", "any")
    unknown = sorted(node.keys() - _ANTHROPIC_KNOWN)
    if unknown:
        return f"For '{kind}' type, properties {', '.join(unknown)} are not supported"
    if kind == "object" and node.get("additionalProperties") is not False:
        return "For 'object' type, 'additionalProperties' must be explicitly set to false"
    if node.get("minItems", 0) not in (0, 1):
        return "For 'array' type, 'minItems' values other than 0 or 1 are not supported"
    if node.get("format") is not None and node["format"] not in ANTHROPIC_FORMATS:
        return f"For 'string' type, format '{node['format']}' is not supported"
    if _NOT_REGULAR.search(node.get("pattern", "")):
        return "Invalid regular expression in 'pattern'"
    if "$ref" in node and not node["$ref"].startswith("#/$defs/"):
        return "External references are not supported"
    return _bad_key(node)


def _bad_key(node: Any) -> str | None:
    if all(_PROPERTY_KEY.fullmatch(name) for name in node.get("properties", {})):
        return None
    return "Property keys should match pattern '^[a-zA-Z0-9_.-]{1,64}$'"


def anthropic_input_problem(schema: Any) -> str | None:
    """The schema of any Anthropic tool. Sources: anthropics/claude-code#79418, #40075 (2026)."""
    if schema.get("type") != "object":
        return "input_schema.type: Input should be 'object'"
    if schema.keys() & {"anyOf", "oneOf", "allOf"}:
        return "input_schema does not support oneOf, allOf, or anyOf at the top level"
    problem = _bad_key(schema)
    return f"input_schema.properties: {problem}" if problem else None


def anthropic_size_problem(schemas: list[Any]) -> str | None:
    """The limits over all strict schemas of a request. Source: Anthropic's guide."""
    found = [node for schema in schemas for _, node in nodes(schema) if isinstance(node, dict)]
    optional = sum(
        len(set(node.get("properties", {})) - set(node.get("required", []))) for node in found
    )
    unions = sum("anyOf" in node or isinstance(node.get("type"), list) for node in found)
    if optional > 24:
        return f"Schemas contain too many optional parameters ({optional}); the limit is 24"
    if unions > 16:
        return f"Schemas contain too many parameters with union types ({unions}); the limit is 16"
    return None


def gemini_problem(schema: Any) -> str | None:
    """Gemini's `responseJsonSchema`. Source: `google.genai.types` 3.6, field of that name.

    The service ignores unknown keywords. This function refuses them, because an ignored keyword is a
    mistake of the caller.
    """
    if recursive(schema, past_optional=True):
        return "Unable to unroll a recursive reference that is required"
    for place, node in nodes(schema):
        if not isinstance(node, dict):
            return f"Cannot find field at {place}"
        unknown = sorted(node.keys() - _GEMINI_KNOWN)
        if unknown:
            return f'Invalid JSON payload received. Unknown name "{unknown[0]}": Cannot find field.'
        if "$ref" in node and any(not key.startswith("$") for key in node.keys() - {"$ref"}):
            return "$ref must not have siblings"
        if any(not isinstance(value, str | int | float) for value in node.get("enum", [])):
            return "enum must hold strings or numbers"
        if len(node.get("enum", [])) > 90:
            return (
                "The specified schema produces a constraint that has too many states for serving."
            )
    return None

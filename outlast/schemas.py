"""JSON Schemas: of Python types, of what people send, and of a turn's decision."""

import math
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from pydantic import JsonValue, PydanticSchemaGenerationError, PydanticUserError, TypeAdapter
from pydantic.errors import PydanticInvalidForJsonSchema
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode

from outlast.contracts import PinnedAgent, ToolSpec
from outlast.errors import DefinitionError

Schema = dict[str, JsonValue]

MAX_CALLS_PER_TURN = 8
"""Tool calls of one decision: what a person can still follow, and a bound on what runs side by side."""

MAX_SCHEMA_DEPTH = 64
"""Nesting at which a schema is refused: engines compile it recursively."""

ANSWER_PREFIX = ".answer"
"""Where the definitions of the output schema go: no tool has a name that begins with a dot."""

_TYPES = ("array", "boolean", "integer", "null", "number", "object", "string")
_BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
_REFUSED = ("$dynamicRef", "$dynamicAnchor", "$recursiveRef", "$anchor", "$id")
_SCHEMA_KEYWORDS = (
    *("items", "additionalProperties", "not", "if", "then", "else", "contains", "propertyNames"),
    *("unevaluatedProperties", "unevaluatedItems"),
)
_DEFINING = ("$ref", "allOf", "anyOf", "const", "enum", "oneOf", "properties", "type")


def schema_of(annotation: Any, *, what: str, mode: JsonSchemaMode = "validation") -> Schema:
    """Return the JSON Schema of a type; `what` names it in the `DefinitionError` of one that has none."""
    try:
        return TypeAdapter(annotation).json_schema(mode=mode, schema_generator=_WithoutTitles)
    except (
        PydanticSchemaGenerationError,
        PydanticInvalidForJsonSchema,
        PydanticUserError,
    ) as error:
        reason = str(error).splitlines()[0]
        raise DefinitionError(f"{what}: {annotation!r} has no JSON Schema: {reason}") from None


class _WithoutTitles(GenerateJsonSchema):
    """Leaves out the titles that pydantic makes of field names: they cost tokens and say nothing."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 pydantic's signature
        return False


def check_schema(schema: JsonValue, path: str) -> None:
    """Raise `ValueError`, naming the place, unless `schema` is a JSON Schema that constrains something."""
    if not isinstance(schema, dict):
        raise ValueError(f"{path}: {schema!r} is no JSON Schema; give an object with a 'type'")
    if not any(keyword in schema for keyword in _DEFINING):
        found = ", ".join(repr(key) for key in list(schema)[:3]) or "nothing"
        raise ValueError(
            f"{path}: no JSON Schema: has {found}, needs one of {', '.join(_DEFINING)}"
        )
    _check_node(schema, path, schema, 0)


def _check_node(node: JsonValue, path: str, root: Schema, depth: int) -> None:
    if isinstance(node, bool):
        return
    if not isinstance(node, dict):
        raise ValueError(f"{path}: {node!r} is no JSON Schema; give an object")
    if depth > MAX_SCHEMA_DEPTH:
        raise ValueError(f"{path}: nested deeper than {MAX_SCHEMA_DEPTH}")
    for keyword, value in node.items():
        check = _KEYWORDS.get(keyword)
        if check is not None and not check(value, root):
            raise ValueError(f"{path}.{keyword}: {value!r} is not {_ALLOWED[keyword]}")
    for child, place in _children(node):
        _check_node(child, f"{path}.{place}", root, depth + 1)


def _children(node: Schema) -> Iterator[tuple[JsonValue, str]]:
    for keyword in _SCHEMA_KEYWORDS:
        if keyword in node:
            yield node[keyword], keyword
    for keyword in ("properties", "patternProperties", "$defs", "definitions"):
        group = node.get(keyword)
        if isinstance(group, dict):
            yield from ((child, f"{keyword}.{name}") for name, child in group.items())
    for keyword in ("anyOf", "oneOf", "allOf", "prefixItems"):
        group = node.get(keyword)
        if isinstance(group, list):
            yield from ((child, f"{keyword}.{index}") for index, child in enumerate(group))


def _is_type(value: JsonValue, _: Schema) -> bool:
    names = value if isinstance(value, list) else [value]
    return bool(names) and all(name in _TYPES for name in names)


def _is_count(value: JsonValue, _: Schema) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_group(value: JsonValue, _: Schema) -> bool:
    return isinstance(value, dict)


def _is_list(value: JsonValue, _: Schema) -> bool:
    return isinstance(value, list) and bool(value)


def _is_names(value: JsonValue, _: Schema) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def _is_number(value: JsonValue, _: Schema) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_positive(value: JsonValue, root: Schema) -> bool:
    return _is_number(value, root) and isinstance(value, int | float) and value > 0


def _is_text(value: JsonValue, _: Schema) -> bool:
    return isinstance(value, str)


def _is_flag(value: JsonValue, _: Schema) -> bool:
    return isinstance(value, bool)


def _is_refused(_value: JsonValue, _root: Schema) -> bool:
    return False


def _is_patterns(value: JsonValue, root: Schema) -> bool:
    return isinstance(value, dict) and all(_is_pattern(pattern, root) for pattern in value)


def _is_pattern(value: JsonValue, _: Schema) -> bool:
    try:
        return isinstance(value, str) and re.compile(value) is not None
    except re.error:
        return False


def _is_reference(value: JsonValue, root: Schema) -> bool:
    if not isinstance(value, str) or not re.match(r"#($|/(\$defs|definitions)/[^/]+$)", value):
        return False
    node: JsonValue = root
    for step in value.removeprefix("#").strip("/").split("/") if value != "#" else []:
        if not isinstance(node, dict) or step not in node:
            return False
        node = node[step]
    return True


_KEYWORDS: dict[str, Callable[[JsonValue, Schema], bool]] = {
    "type": _is_type,
    "properties": _is_group,
    "$defs": _is_group,
    "required": _is_names,
    "enum": _is_list,
    "anyOf": _is_list,
    "oneOf": _is_list,
    "allOf": _is_list,
    "pattern": _is_pattern,
    "$ref": _is_reference,
    "format": _is_text,
    "uniqueItems": _is_flag,
    "multipleOf": _is_positive,
    "patternProperties": _is_patterns,
    **dict.fromkeys(_BOUNDS, _is_number),
    **dict.fromkeys(_REFUSED, _is_refused),
    **dict.fromkeys(("minLength", "maxLength", "minItems", "maxItems"), _is_count),
}
_ALLOWED = {
    "type": f"one of {', '.join(_TYPES)}",
    "properties": "an object of schemas",
    "$defs": "an object of schemas",
    "required": "a list of property names",
    "pattern": "a regular expression",
    "$ref": "a reference to a definition of this schema, such as '#/$defs/Name'",
    "format": "the name of a format",
    "uniqueItems": "true or false",
    "multipleOf": "a number above 0",
    "patternProperties": "an object of regular expressions and schemas",
    **dict.fromkeys(_BOUNDS, "a number"),
    **dict.fromkeys(_REFUSED, "supported; write the definition where it is used, or under $defs"),
    **dict.fromkeys(("enum", "anyOf", "oneOf", "allOf"), "a list with an entry"),
    **dict.fromkeys(("minLength", "maxLength", "minItems", "maxItems"), "a whole number from 0"),
}


def decision_schema(
    agent: PinnedAgent,
    tools: Sequence[str] | None = None,
    *,
    max_calls: int | None = None,
    answer: bool = True,
) -> Schema:
    """Return the schema of one decision: some calls of `tools` (None: all), or the final answer.

    With no tools left, or no calls, only the answer is admitted: that is how a run ends. Without
    `answer`, only calls are.
    """
    allowed = [tool for tool in agent.tools if tools is None or tool.name in tools]
    most = min(MAX_CALLS_PER_TURN, MAX_CALLS_PER_TURN if max_calls is None else max_calls)
    definitions: Schema = {}
    if not allowed or most < 1:
        return _with_definitions(_answer_schema(agent, definitions), definitions)
    calls = [_call_schema(tool, definitions) for tool in allowed]
    item: Schema = calls[0] if len(calls) == 1 else {"anyOf": list(calls)}
    tool_calls = _closed(
        {"tool_calls": {"type": "array", "minItems": 1, "maxItems": most, "items": item}}
    )
    if not answer:
        return _with_definitions(tool_calls, definitions)
    either: Schema = {"anyOf": [tool_calls, _answer_schema(agent, definitions)]}
    return _with_definitions(either, definitions)


def _answer_schema(agent: PinnedAgent, definitions: Schema) -> Schema:
    return _closed({"answer": _hoisted(agent.output_schema, ANSWER_PREFIX, definitions)})


def _call_schema(tool: ToolSpec, definitions: Schema) -> Schema:
    arguments = _hoisted(tool.parameters, tool.name, definitions)
    return _closed({"tool": {"type": "string", "enum": [tool.name]}, "arguments": arguments})


def _closed(properties: Schema) -> Schema:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _with_definitions(schema: Schema, definitions: Schema) -> Schema:
    return {**schema, "$defs": definitions} if definitions else schema


def _hoisted(schema: Schema, prefix: str, definitions: Schema) -> Schema:
    """Move a schema's definitions into `definitions`, under names that no other schema has."""

    def rewritten(node: JsonValue) -> JsonValue:
        if isinstance(node, list):
            return [rewritten(child) for child in node]
        if not isinstance(node, dict):
            return node
        return {
            key: _moved(value, prefix)
            if key == "$ref"
            else {name: rewritten(child) for name, child in value.items()}
            if key == "properties" and isinstance(value, dict)
            else rewritten(value)
            for key, value in node.items()
            if key not in ("$defs", "definitions")
        }

    for group in ("$defs", "definitions"):
        inner = schema.get(group)
        for name, definition in inner.items() if isinstance(inner, dict) else ():
            definitions[f"{prefix}.{name}"] = rewritten(definition)
    hoisted = rewritten(schema)
    assert isinstance(hoisted, dict)  # noqa: S101 rewritten() keeps the kind
    if _refers_to_root(schema):
        definitions[prefix] = hoisted
        return {"$ref": f"#/$defs/{prefix}"}
    return hoisted


def _moved(reference: JsonValue, prefix: str) -> JsonValue:
    if reference == "#":
        return f"#/$defs/{prefix}"
    return re.sub(r"^#/(\$defs|definitions)/", f"#/$defs/{prefix}.", str(reference))


def _refers_to_root(node: JsonValue) -> bool:
    if isinstance(node, dict):
        return node.get("$ref") == "#" or any(_refers_to_root(value) for value in node.values())
    return isinstance(node, list) and any(_refers_to_root(child) for child in node)

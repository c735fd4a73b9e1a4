"""The JSON Schema of a decision: what a model may answer in one turn."""

import re
from collections.abc import Sequence

from pydantic import JsonValue

from outlast.contracts.agents import PinnedAgent, ToolSpec
from outlast.jsonschema.schemas import Schema

MAX_CALLS_PER_TURN = 8
"""Tool calls of one decision: it limits the calls in parallel to what a person can follow."""

ANSWER_PREFIX = ".answer"
"""Prefix of the definitions of the output schema: no tool name begins with a dot."""


def decision_schema(
    agent: PinnedAgent,
    tools: Sequence[str] | None = None,
    *,
    max_calls: int | None = None,
    answer: bool = True,
) -> Schema:
    """Return the schema of one decision: calls of `tools` (None means all), or the final answer.

    Without tools or calls, only the answer is allowed: so a run ends with an answer. Without `answer`,
    only calls are allowed.
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
    """Move the definitions of a schema into `definitions`, with names that are unique among all schemas."""
    for group in ("$defs", "definitions"):
        inner = schema.get(group)
        for name, definition in inner.items() if isinstance(inner, dict) else ():
            definitions[f"{prefix}.{name}"] = _with_moved_references(definition, prefix)
    hoisted = _with_moved_references(schema, prefix)
    assert isinstance(hoisted, dict)  # noqa: S101 the function keeps the type
    if _refers_to_root(schema):
        definitions[prefix] = hoisted
        return {"$ref": f"#/$defs/{prefix}"}
    return hoisted


def _with_moved_references(node: JsonValue, prefix: str) -> JsonValue:
    """Return a schema without its definitions, whose references name the moved ones."""
    if isinstance(node, list):
        return [_with_moved_references(child, prefix) for child in node]
    if not isinstance(node, dict):
        return node
    moved: Schema = {}
    for key, value in node.items():
        if key == "$ref":
            moved[key] = _moved(value, prefix)
        elif key == "properties" and isinstance(value, dict):
            # A property may have the name of a keyword.
            moved[key] = {
                name: _with_moved_references(child, prefix) for name, child in value.items()
            }
        elif key not in ("$defs", "definitions"):
            moved[key] = _with_moved_references(value, prefix)
    return moved


def _moved(reference: JsonValue, prefix: str) -> JsonValue:
    if reference == "#":
        return f"#/$defs/{prefix}"
    return re.sub(r"^#/(\$defs|definitions)/", f"#/$defs/{prefix}.", str(reference))


def _refers_to_root(node: JsonValue) -> bool:
    if isinstance(node, dict):
        return node.get("$ref") == "#" or any(_refers_to_root(value) for value in node.values())
    return isinstance(node, list) and any(_refers_to_root(child) for child in node)

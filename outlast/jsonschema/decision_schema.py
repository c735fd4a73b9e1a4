"""The JSON Schema of a decision: what a model may answer in one turn."""

from collections.abc import Sequence
from typing import Any

from pydantic import JsonValue

from outlast.contracts.agents import PinnedAgent, ToolSpec
from outlast.jsonschema.canonical import canonical_schema
from outlast.jsonschema.keywords import with_children
from outlast.jsonschema.schemas import Schema, closed_object

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
    tool_calls = closed_object(
        {"tool_calls": {"type": "array", "minItems": 1, "maxItems": most, "items": item}}
    )
    if not answer:
        return _with_definitions(tool_calls, definitions)
    either: Schema = {"anyOf": [tool_calls, _answer_schema(agent, definitions)]}
    return _with_definitions(either, definitions)


def _answer_schema(agent: PinnedAgent, definitions: Schema) -> Schema:
    return closed_object({"answer": _hoisted(agent.output_schema, ANSWER_PREFIX, definitions)})


def _call_schema(tool: ToolSpec, definitions: Schema) -> Schema:
    arguments = _hoisted(tool.parameters, tool.name, definitions)
    if "$ref" not in arguments:
        arguments.setdefault("type", "object")  # a call has no other arguments
    return closed_object({"tool": {"type": "string", "enum": [tool.name]}, "arguments": arguments})


def _with_definitions(schema: Schema, definitions: Schema) -> Schema:
    return {**schema, "$defs": definitions} if definitions else schema


def _hoisted(schema: Schema, prefix: str, definitions: Schema) -> Schema:
    """Move the definitions of a schema into `definitions`, with names that are unique among all schemas."""
    canonical = canonical_schema(schema)
    own: Any = canonical.pop("$defs", {})
    refers_to_root = False

    def moved(node: JsonValue) -> JsonValue:
        nonlocal refers_to_root
        if not isinstance(node, dict):
            return node
        changed = with_children(node, moved)
        reference = node.get("$ref")
        if reference == "#":
            refers_to_root = True
            changed["$ref"] = f"#/$defs/{prefix}"
        elif isinstance(reference, str):
            changed["$ref"] = f"#/$defs/{prefix}.{reference.removeprefix('#/$defs/')}"
        return changed

    for name, definition in own.items():
        definitions[f"{prefix}.{name}"] = moved(definition)
    hoisted: Any = moved(canonical)
    if refers_to_root:
        definitions[prefix] = hoisted
        return {"$ref": f"#/$defs/{prefix}"}
    return dict(hoisted)

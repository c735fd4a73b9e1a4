"""Fields of a chat completions request that differ between servers: constraints and streaming.

`structured_outputs` writes the constraint of vLLM, with outlines; all other servers get OpenAI's
`response_format`. `compact_json` forbids white space between the parts of the JSON, and each engine has its
own way:

- llguidance (llama.cpp's grammars, vLLM's `guidance`) reads a remark in the schema.
- xgrammar takes a limit in a structural tag, and the limit is at least one blank.
- vLLM's `auto` is one of the two, depending on the first request of the server's life. It gets the
  remark, because a structural tag is an error to llguidance. The probe finds out which one it is.
- outlines allows one blank anyway.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any, get_args

from pydantic import JsonValue

from outlast.errors import NotReady
from outlast.jsonschema.keywords import with_children
from outlast.jsonschema.schemas import Schema
from outlast.text.hints import hint
from outlast_activities.constraints.constraints import constraint_for
from outlast_activities.constraints.engines import Engine
from outlast_activities.constraints.nodes import types_of_node

ENGINES: tuple[Engine, ...] = get_args(Engine)

FORMAT_NAME = "answer"

FieldWriter = Callable[[Schema], dict[str, Any]]
"""Returns the request fields that make a server enforce a schema."""

_NO_WHITE_SPACE = {"whitespace_flexible": False}

MIN_BLANKS = 1
"""In a row: xgrammar 0.2.8 rejects 0. vLLM's `bad_words` cannot be blank."""


def default_engine(api: str) -> Engine:
    """Return the engine that a server is assumed to have before the probe."""
    return "auto" if api == "vllm" else "openai"


def engine_named(name: str) -> Engine:
    """Return the engine with this name, or raise `ValueError`."""
    for engine in ENGINES:
        if engine == name:
            return engine
    raise ValueError(f"engine: {name!r} is unknown; {hint(name, ENGINES)}")


def field_writer(api: str) -> FieldWriter:
    """Return what writes the constraints for an API. Call it at start: outlines takes 0.2 s to import.

    Raises `NotReady` without outlines, which has no release for Python 3.14.
    """
    if api != "vllm":
        return strict_response_format
    # Imported here, because only vLLM needs outlines.
    try:
        from outlast_activities.providers.structured_outputs import structured_outputs  # noqa: PLC0415
    except ModuleNotFoundError:
        raise NotReady(
            "the api vllm needs the package outlines, which has releases for Python 3.11 to 3.13: use one "
            "of these, or the api openai-chat"
        ) from None
    return structured_outputs


def constraint_fields(
    schema: Mapping[str, Any], *, write: FieldWriter, engine: Engine, compact_json: bool
) -> dict[str, Any]:
    """Return the request fields that make the engine enforce what it can of a schema.

    Raises `ModelError` for a schema that outlines rejects.
    """
    enforced: dict[str, Any] = dict(constraint_for(dict(schema), engine).schema)
    if compact_json and engine == "llama.cpp":
        return {"grammar": _grammar(enforced)}
    if compact_json and engine == "xgrammar":
        return {"structured_outputs": {"structural_tag": _structural_tag(enforced)}}
    if compact_json and engine in ("auto", "guidance"):
        enforced["x-guidance"] = _NO_WHITE_SPACE
    return write(enforced)


def strict_response_format(schema: Schema) -> dict[str, Any]:
    """Return OpenAI's field for a schema, with its objects closed as a strict format requires."""
    return {"response_format": response_format(_closed(schema), is_strict=True)}


def response_format(schema: JsonValue, *, is_strict: bool) -> dict[str, Any]:
    """Return OpenAI's format for answers that obey a schema."""
    named: dict[str, Any] = {"name": FORMAT_NAME, "schema": schema}
    if is_strict:
        named["strict"] = True
    return {"type": "json_schema", "json_schema": named}


def stream_fields(*, api: str, engine: Engine) -> dict[str, Any]:
    """Return the request fields for a stream that counts its tokens."""
    options: dict[str, Any] = {"include_usage": True}
    if api == "vllm":
        options["continuous_usage_stats"] = True
    counts = {"timings_per_token": True} if engine == "llama.cpp" else {}
    return {"stream": True, "stream_options": options, **counts}


def _grammar(schema: dict[str, Any]) -> str:
    text = json.dumps({**schema, "x-guidance": _NO_WHITE_SPACE}, separators=(",", ":"))
    return f"%llguidance {{}}\nstart: %json {text}"


def _structural_tag(schema: dict[str, Any]) -> str:
    content = {
        "type": "json_schema",
        "json_schema": schema,
        "max_whitespace_cnt": MIN_BLANKS,
    }
    return json.dumps({"type": "structural_tag", "format": content}, separators=(",", ":"))


def _closed(node: JsonValue) -> JsonValue:
    """Return a schema whose objects have no other properties than it names, unless it allows them."""
    if not isinstance(node, dict):
        return node
    closed = with_children(node, _closed)
    definitions = closed.get("$defs")
    if isinstance(definitions, dict):
        closed["$defs"] = {name: _closed(definition) for name, definition in definitions.items()}
    if "object" in types_of_node(closed):
        closed.setdefault("additionalProperties", False)
    return closed

"""Fields of a chat completions request that differ between servers: constraints and streaming.

outlines writes the field of the constraint. `compact_json` forbids white space between the parts of the
JSON, and each engine has its own way:

- llguidance (llama.cpp's grammars, vLLM's `guidance`) reads a remark in the schema.
- xgrammar takes a limit in a structural tag, and the limit is at least one blank.
- vLLM's `auto` is one of the two, depending on the first request of the server's life. It gets the
  remark, because a structural tag is an error to llguidance. The probe finds out which one it is.
- outlines allows one blank anyway.
"""

import json
from collections.abc import Mapping
from typing import Any, get_args

from outlines.models.openai import OpenAITypeAdapter
from outlines.models.vllm import VLLMTypeAdapter
from outlines.types import JsonSchema

from outlast.errors import ModelError, ModelFailure
from outlast.text.hints import hint
from outlast.text.texts import cut
from outlast_activities.constraints.constraints import constraint_for
from outlast_activities.constraints.engines import Engine

ENGINES: tuple[Engine, ...] = get_args(Engine)

_NO_WHITE_SPACE = {"whitespace_flexible": False}

MIN_BLANKS = 1
"""In a row: xgrammar 0.2.8 rejects 0. vLLM's `bad_words` cannot be blank."""

MAX_REASON = 300
"""Bytes of a library's error message."""


def default_engine(api: str) -> Engine:
    """Return the engine that a server is assumed to have before the probe."""
    return "auto" if api == "vllm" else "openai"


def engine_named(name: str) -> Engine:
    """Return the engine with this name, or raise `ValueError`."""
    for engine in ENGINES:
        if engine == name:
            return engine
    raise ValueError(f"engine: {name!r} is unknown; {hint(name, ENGINES)}")


def constraint_fields(
    schema: Mapping[str, Any], *, api: str, engine: Engine, compact_json: bool
) -> dict[str, Any]:
    """Return the request fields that make the engine enforce what it can of a schema."""
    enforced: dict[str, Any] = dict(constraint_for(dict(schema), engine).schema)
    if compact_json and engine == "llama.cpp":
        return {"grammar": _grammar(enforced)}
    if compact_json and engine == "xgrammar":
        return {"structured_outputs": {"structural_tag": _structural_tag(enforced)}}
    if compact_json and engine in ("auto", "guidance"):
        enforced["x-guidance"] = _NO_WHITE_SPACE
    adapter = VLLMTypeAdapter() if api == "vllm" else OpenAITypeAdapter()
    try:
        fields: dict[str, Any] = adapter.format_output_type(JsonSchema(enforced))
    except Exception as error:  # noqa: BLE001 outlines raises many types for schemas that it rejects
        raise ModelError(
            f"the schema of a decision cannot be used: {cut(str(error), MAX_REASON)}",
            kind=ModelFailure.BAD_REQUEST,
        ) from None
    return fields


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

"""Dialects: what servers of chat completions are told in fields of their own.

The constraint's field is written by outlines. White space between the parts of an answer can be
forbidden for one request where the engine is llguidance (llama.cpp's grammars, vLLM's `guidance`) by a
remark in the schema. xgrammar takes a bound for it in a structural tag, of one blank at the least. vLLM's
`auto` is one of them, whichever came first in the server's life, and is given the remark, for a structural
tag is an error to llguidance; the probe tells which one it is. outlines admits one blank anyway.
"""

import json
from collections.abc import Mapping
from typing import Any, Literal

from outlines.models.openai import OpenAITypeAdapter
from outlines.models.vllm import VLLMTypeAdapter
from outlines.types import JsonSchema

from outlast.errors import ModelError, ModelFailure
from outlast.texts import cut
from outlast_activities.constraints.constraints import Engine, constraint_for

Api = Literal["vllm", "openai"]

_NO_WHITE_SPACE = {"whitespace_flexible": False}

FEWEST_BLANKS = 1
"""In a row: xgrammar 0.2.8 refuses none at all. vLLM's `bad_words` cannot be blank."""


def usual_engine(api: Api) -> Engine:
    """Return the engine that a server is taken to have before it was asked."""
    return "auto" if api == "vllm" else "openai"


def constrained(
    schema: Mapping[str, Any], *, api: Api, engine: Engine, compact: bool
) -> dict[str, Any]:
    """Return the fields of a request that hold the answer to what the engine can enforce of a schema."""
    given: dict[str, Any] = dict(constraint_for(dict(schema), engine).schema)
    if compact and engine == "llama.cpp":
        return {"grammar": _grammar(given)}
    if compact and engine == "xgrammar":
        return {"structured_outputs": {"structural_tag": _structural_tag(given)}}
    if compact and engine in ("auto", "guidance"):
        given["x-guidance"] = _NO_WHITE_SPACE
    adapter = VLLMTypeAdapter() if api == "vllm" else OpenAITypeAdapter()
    try:
        fields: dict[str, Any] = adapter.format_output_type(JsonSchema(given))
    except Exception as error:  # noqa: BLE001 a library's opinion of somebody's schema, of whatever type it is
        raise ModelError(
            f"the schema of a decision cannot be used: {cut(str(error), 300)}",
            kind=ModelFailure.BAD_REQUEST,
        ) from None
    return fields


def streamed(*, api: Api, engine: Engine) -> dict[str, Any]:
    """Return the fields of a request that ask for a stream which counts its tokens."""
    options: dict[str, Any] = {"include_usage": True}
    if api == "vllm":
        options["continuous_usage_stats"] = True
    counting = {"timings_per_token": True} if engine == "llama.cpp" else {}
    return {"stream": True, "stream_options": options, **counting}


def _grammar(schema: dict[str, Any]) -> str:
    written = json.dumps({**schema, "x-guidance": _NO_WHITE_SPACE}, separators=(",", ":"))
    return f"%llguidance {{}}\nstart: %json {written}"


def _structural_tag(schema: dict[str, Any]) -> str:
    content = {
        "type": "json_schema",
        "json_schema": schema,
        "max_whitespace_cnt": FEWEST_BLANKS,
    }
    return json.dumps({"type": "structural_tag", "format": content}, separators=(",", ":"))

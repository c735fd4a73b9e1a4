"""Probing: what a model server is, and whether its answers obey a constraint, before it is relied on.

A server that does not know the field of the constraint ignores it without a word: vLLM before 0.12 the
one of today, others vLLM's. So it is asked one tiny question whose answer, unconstrained, would not be
what the constraint admits.
"""

import json
from dataclasses import dataclass
from typing import Any

import openai

from outlast.errors import ModelError, ModelFailure
from outlast.model_server import Prompt
from outlast_activities.constraints.constraints import Engine
from outlast_activities.providers.chat_completions import ChatCompletions
from outlast_activities.providers.request_fields import usual_engine

PROBE_WORD = "quillwort-7"
"""No model says so when it is greeted."""

PROBE_TOKENS = 48
PROBE_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"probe": {"type": "string", "enum": [PROBE_WORD]}},
    "required": ["probe"],
    "additionalProperties": False,
}
PROBE_MESSAGES = [{"role": "user", "content": "Greet me in one short English sentence."}]

_BACKEND_WORD = "zq"
_BACKEND_SCHEMA: dict[str, Any] = {"type": "string", "pattern": _BACKEND_WORD}
"""xgrammar takes a pattern for the whole text, and llguidance looks for it anywhere."""

_BACKEND_TOKENS = 12

_NEEDED = {
    "vllm": 'it needs vLLM 0.12 or later; with any other server say api = "openai"',
    "openai": 'it has to honour response_format with a json_schema; with vLLM say api = "vllm"',
}

_NOTHING = (openai.OpenAIError, json.JSONDecodeError, TypeError, AttributeError)
"""What a server that does not know the question answers."""


@dataclass(frozen=True)
class ServerFacts:
    """What a model server told of itself, and whether constraints hold there."""

    engine: Engine
    version: str | None
    model: str
    context_tokens: int | None
    constrained: bool


async def probe(model: ChatCompletions, *, engine: Engine | None = None) -> ServerFacts:
    """Ask a server what it is and for one constrained answer; raises `ModelError` where it has none.

    `engine` is what an operator said of it. The adapter uses what is found from then on.
    """
    listed = await _models(model)
    found, version, context_tokens = await _identity(model, listed)
    model.engine = engine or found
    prompt = Prompt(PROBE_MESSAGES, PROBE_SCHEMA, "probe", PROBE_TOKENS)
    holds = True
    try:
        completion = await model.complete(prompt)
        holds = _obeyed(completion.text)
        served = completion.model
    except ModelError as error:
        if error.kind not in (ModelFailure.WHITESPACE_LOOP, ModelFailure.REPETITION_LOOP):
            raise
        served, holds = model.server.model or "", False
    if holds and model.engine == "auto":
        model.engine = await _backend(model)
    return ServerFacts(model.engine, version, served, context_tokens, holds)


async def _backend(model: ChatCompletions) -> Engine:
    """Return which backend vLLM's `auto` has become: it is one until the server ends."""
    prompt = Prompt(PROBE_MESSAGES, _BACKEND_SCHEMA, "backend", _BACKEND_TOKENS)
    # What is not enforced by both would not be sent.
    model.engine = "guidance"
    try:
        text = (await model.complete(prompt)).text
    except ModelError:
        return "auto"
    if text == json.dumps(_BACKEND_WORD):
        return "xgrammar"
    return "guidance" if text.startswith('"') else "auto"


def needed(model: ChatCompletions, facts: ServerFacts) -> str:
    """Return the line that tells what a server which ignores constraints lacks."""
    what = f"{facts.engine} {facts.version or ''}".strip()
    return (
        f"the model server at {model.server.url} ({what}, model {facts.model!r}) ignores the JSON Schema "
        f"of a request: {_NEEDED[model.server.api]}, or accept checked answers with "
        "--allow-unconstrained"
    )


def _obeyed(text: str) -> bool:
    try:
        return bool(json.loads(text) == {"probe": PROBE_WORD})
    except ValueError:
        return False


async def _models(model: ChatCompletions) -> list[dict[str, Any]]:
    try:
        return await model.listed_models()
    except _NOTHING:
        return []


async def _identity(
    model: ChatCompletions, listed: list[dict[str, Any]]
) -> tuple[Engine, str | None, int | None]:
    named = next((one for one in listed if one.get("id") == model.server.model), None)
    first: dict[str, Any] = named or (listed[0] if listed else {})
    if first.get("owned_by") == "llamacpp":
        properties = await _told(model, "/props")
        settings = properties.get("default_generation_settings") or {}
        return "llama.cpp", properties.get("build_info"), settings.get("n_ctx")
    version = (
        (await _told(model, "/version")).get("version") if model.server.api == "vllm" else None
    )
    return usual_engine(model.server.api), version, first.get("max_model_len")


async def _told(model: ChatCompletions, path: str) -> dict[str, Any]:
    try:
        told = await model.ask_root(path)
    except _NOTHING:
        return {}
    return told if isinstance(told, dict) else {}

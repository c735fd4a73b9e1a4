"""The probe of a server with chat completions: its engine, and whether it enforces a JSON Schema.

A server that does not know the field of a constraint ignores it without an error. vLLM before 0.12
ignores today's field, and other servers ignore vLLM's. So the probe sends a short prompt that an
unconstrained model would answer differently.
"""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from outlast.errors import ModelError, ModelFailure
from outlast.model_server import Completion, Prompt, ServerFacts, ServerOptions
from outlast_activities.constraints.engines import Engine
from outlast_activities.providers.chat_client import CLIENT_ERRORS, ChatClient
from outlast_activities.providers.request_fields import default_engine, engine_named

PROBE_WORD = "quillwort-7"
"""No model uses this word in a greeting."""

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
"""xgrammar matches a pattern with the whole text, and llguidance anywhere in it."""

_BACKEND_TOKENS = 12

Complete = Callable[[Prompt, Engine], Awaitable[Completion]]
"""Completes a prompt with a constraint that is written for the given engine."""


@dataclass(frozen=True)
class _Identity:
    """What the server's own endpoints report."""

    engine: Engine
    version: str | None = None
    context_tokens: int | None = None


async def probe_server(
    client: ChatClient, options: ServerOptions, complete: Complete
) -> tuple[Engine, ServerFacts]:
    """Return the engine and the facts of a server. Raises `ModelError` if it does not answer the prompt."""
    identity = await _identity(client, options)
    engine = engine_named(options.engine) if options.engine else identity.engine
    is_enforced = True
    try:
        completion = await complete(
            Prompt(PROBE_MESSAGES, PROBE_SCHEMA, "probe", PROBE_TOKENS), engine
        )
        is_enforced = _is_valid(completion.text)
        model = completion.model
    except ModelError as error:
        if error.kind not in (ModelFailure.WHITESPACE_LOOP, ModelFailure.REPETITION_LOOP):
            raise
        model, is_enforced = options.model or "", False
    if is_enforced and engine == "auto":
        engine = await _backend(complete)
    facts = ServerFacts(
        engine, identity.version, model, identity.context_tokens, constrained=is_enforced
    )
    return engine, facts


async def _backend(complete: Complete) -> Engine:
    """Return the backend that vLLM's `auto` chose. It stays the same until the server restarts.

    The constraint is written for `guidance`, because an unanchored pattern would be left out for `auto`.
    """
    prompt = Prompt(PROBE_MESSAGES, _BACKEND_SCHEMA, "backend", _BACKEND_TOKENS)
    try:
        text = (await complete(prompt, "guidance")).text
    except ModelError:
        return "auto"
    if text == json.dumps(_BACKEND_WORD):
        return "xgrammar"
    return "guidance" if text.startswith('"') else "auto"


def _is_valid(text: str) -> bool:
    try:
        return bool(json.loads(text) == {"probe": PROBE_WORD})
    except ValueError:
        return False


async def _identity(client: ChatClient, options: ServerOptions) -> _Identity:
    try:
        models = await client.models()
    except CLIENT_ERRORS:
        models = []
    named = (model for model in models if model.get("id") == options.model)
    model: dict[str, Any] = next(named, models[0] if models else {})
    if model.get("owned_by") == "llamacpp":
        properties = await _root_object(client, "/props")
        settings = properties.get("default_generation_settings") or {}
        return _Identity("llama.cpp", properties.get("build_info"), settings.get("n_ctx"))
    version = None
    if options.api == "vllm":
        version = (await _root_object(client, "/version")).get("version")
    return _Identity(default_engine(options.api), version, model.get("max_model_len"))


async def _root_object(client: ChatClient, path: str) -> dict[str, Any]:
    try:
        body = await client.root_query(path)
    except CLIENT_ERRORS:
        return {}
    return body if isinstance(body, dict) else {}

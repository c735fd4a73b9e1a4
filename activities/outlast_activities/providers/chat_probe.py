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
from outlast.text.texts import cut
from outlast.turns import UserTurn
from outlast_activities.constraints.engines import Engine
from outlast_activities.generation.decision_text import decision_value, has_open_thoughts
from outlast_activities.providers.chat_client import ChatClient
from outlast_activities.providers.http_errors import QUERY_ERRORS
from outlast_activities.providers.request_fields import default_engine, engine_named
from outlast_activities.providers.token_counts import count_in

PROBE_WORD = "quillwort-7"
"""No model uses this word in a greeting."""

PROBE_TOKENS = 48
THINKING_TOKENS = (512, 4_096)
"""The tokens of the next tries, if a model only thinks."""

PROBE_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"probe": {"type": "string", "enum": [PROBE_WORD]}},
    "required": ["probe"],
    "additionalProperties": False,
}
PROBE_TURNS = (UserTurn("Greet me in one short English sentence."),)

_BACKEND_WORD = "zq"
_BACKEND_SCHEMA: dict[str, Any] = {"type": "string", "pattern": _BACKEND_WORD}
"""xgrammar matches a pattern with the whole text, and llguidance anywhere in it."""

_BACKEND_TOKENS = 12

MAX_VERSION = 100
"""Bytes of a server's version."""

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
        completion = await _answer_to_probe(complete, engine)
        # An answer that ended in thoughts proves nothing. The worker checks all answers anyway.
        is_enforced = _is_valid(completion.text) or _is_thinking(completion)
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
    prompt = Prompt(PROBE_TURNS, _BACKEND_SCHEMA, "backend", _BACKEND_TOKENS)
    try:
        text = (await complete(prompt, "guidance")).text
    except ModelError:
        return "auto"
    if text == json.dumps(_BACKEND_WORD):
        return "xgrammar"
    return "guidance" if text.startswith('"') else "auto"


async def _answer_to_probe(complete: Complete, engine: Engine) -> Completion:
    """Return the answer to the prompt, with more tokens if a model thinks before it answers."""
    for max_tokens in (PROBE_TOKENS, *THINKING_TOKENS):
        completion = await complete(Prompt(PROBE_TURNS, PROBE_SCHEMA, "probe", max_tokens), engine)
        if not _is_thinking(completion) or max_tokens == THINKING_TOKENS[-1]:
            return completion
    raise AssertionError("the last number of tokens returns")


def _is_thinking(completion: Completion) -> bool:
    """Return whether an answer was cut off before the thoughts of the model ended."""
    if completion.finish_reason != "length":
        return False
    text = completion.text.strip()
    return not text or has_open_thoughts(text)


def _is_valid(text: str) -> bool:
    try:
        return bool(decision_value(text) == {"probe": PROBE_WORD})
    except ValueError:
        return False


async def _identity(client: ChatClient, options: ServerOptions) -> _Identity:
    try:
        models = await client.models()
    except QUERY_ERRORS:
        models = []
    named = (model for model in models if model.get("id") == options.model)
    model: dict[str, Any] = next(named, models[0] if models else {})
    if model.get("owned_by") == "llamacpp":
        properties = await _root_object(client, "/props")
        settings = properties.get("default_generation_settings")
        context = settings.get("n_ctx") if isinstance(settings, dict) else None
        return _Identity("llama.cpp", _version(properties.get("build_info")), count_in(context))
    version = None
    if options.api == "vllm":
        version = _version((await _root_object(client, "/version")).get("version"))
    return _Identity(default_engine(options.api), version, count_in(model.get("max_model_len")))


def _version(value: object) -> str | None:
    return cut(value, MAX_VERSION) if isinstance(value, str) and value else None


async def _root_object(client: ChatClient, path: str) -> dict[str, Any]:
    try:
        body = await client.root_query(path)
    except QUERY_ERRORS:
        return {}
    return body if isinstance(body, dict) else {}

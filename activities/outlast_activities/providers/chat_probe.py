"""The probe of a server with chat completions: its engine, and whether it enforces a JSON Schema.

A server that does not know the field of a constraint ignores it without an error. vLLM before 0.12
ignores today's field, and other servers ignore vLLM's. So the probe sends a short prompt that an
unconstrained model would answer differently.
"""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

from outlast.contracts.agents import Way
from outlast.errors import ModelError, ModelFailure
from outlast.model_server import Completion, Prompt, ServerFacts, ServerOptions
from outlast.text.texts import cut
from outlast.turns import ToolDefinition, UserTurn
from outlast_activities.constraints.engines import Engine
from outlast_activities.generation.decision_text import decision_value, has_open_thoughts
from outlast_activities.policies.recovery import RULES
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


def _answer(schema: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {"answer": schema},
        "required": ["answer"],
        "additionalProperties": False,
    }


PROBE_TOOL = "look_up_word"
TOOL_PROMPT = Prompt(
    turns=(UserTurn("Look up the secret word of the plant quillwort, then tell it to me."),),
    schema={},
    schema_key="probe of tools",
    max_tokens=256,
    instructions="You do not know any secret word. Only your tool does.",
    tools=(
        ToolDefinition(
            PROBE_TOOL,
            "Returns the secret word of a plant.",
            {
                "type": "object",
                "properties": {"plant": {"type": "string"}},
                "required": ["plant"],
                "additionalProperties": False,
            },
        ),
    ),
    answer_schema=_answer({"type": "string"}),
)
"""The only sensible reaction to this prompt is a call."""

FORMAT_PROMPT = replace(
    TOOL_PROMPT,
    turns=PROBE_TURNS,
    schema_key="probe of the format",
    instructions=None,
    max_calls=0,
    answer_schema=_answer({"type": "string", "enum": [PROBE_WORD]}),
    way="native",
)
"""The model does not see the schema of this answer, so only a server that enforces it returns the word."""

CALL_TOKENS = (256, 4_096)
"""The tokens of a try to get a call, and those of the next one if the model only thinks."""

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
    has_tools: bool = False
    images: bool = False


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
        engine,
        identity.version,
        model,
        identity.context_tokens,
        constrained=is_enforced,
        ways=await _ways(complete, engine, identity, is_enforced=is_enforced),
        supports_effort=engine != "llama.cpp",
        images=identity.images,
    )
    return engine, facts


async def _ways(
    complete: Complete, engine: Engine, identity: _Identity, *, is_enforced: bool
) -> tuple[Way, ...]:
    """Return the ways in which a server can be used, the best one first.

    Tools beside a schema can make calls impossible, and no answer shows it (vLLM without structural
    tags). So the probe requests what only a call can show. llama.cpp gets no such prompt, because prompts
    are slow without a GPU: it reports whether its template has tools.
    """
    if engine == "llama.cpp":
        return ("decision", "tools") if identity.has_tools else ("decision",)
    if await _calls(complete, engine, "native") and await _obeys_format(complete, engine):
        return ("native", "tools", "decision")
    if await _calls(complete, engine, "tools"):
        return ("decision", "tools") if is_enforced else ("tools", "decision")
    return ("decision",)


async def _calls(complete: Complete, engine: Engine, way: Way) -> bool:
    """Return whether a model calls a tool that a prompt can only be answered with."""
    for max_tokens in CALL_TOKENS:
        prompt = replace(TOOL_PROMPT, way=way, max_tokens=max_tokens)
        try:
            completion = await complete(prompt, engine)
        except ModelError as error:
            if RULES[error.kind].retryable:
                raise
            return False
        if not _is_thinking(completion):
            return completion.text.startswith('{"tool_calls":')
    return False


async def _obeys_format(complete: Complete, engine: Engine) -> bool:
    """Return whether a final answer beside tools is under the schema."""
    for max_tokens in CALL_TOKENS:
        prompt = replace(FORMAT_PROMPT, max_tokens=max_tokens)
        try:
            completion = await complete(prompt, engine)
        except ModelError as error:
            if RULES[error.kind].retryable:
                raise
            return False
        if not _is_thinking(completion):
            return bool(_value_in(completion.text) == {"answer": PROBE_WORD})
    return False


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
    return bool(_value_in(text) == {"probe": PROBE_WORD})


def _value_in(text: str) -> Any:
    try:
        return decision_value(text)
    except ValueError:
        return None


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
        version = _version(properties.get("build_info"))
        modalities = properties.get("modalities")
        sees = isinstance(modalities, dict) and modalities.get("vision") is True
        return _Identity(
            "llama.cpp", version, count_in(context), _has_tools(properties), images=sees
        )
    version = None
    if options.api == "vllm":
        version = _version((await _root_object(client, "/version")).get("version"))
    return _Identity(default_engine(options.api), version, count_in(model.get("max_model_len")))


def _has_tools(properties: dict[str, Any]) -> bool:
    """Return whether llama.cpp's template of the model writes tools and calls."""
    caps = properties.get("chat_template_caps")
    wanted = ("supports_tools", "supports_tool_calls")
    return isinstance(caps, dict) and all(caps.get(name) is True for name in wanted)


def _version(value: object) -> str | None:
    return cut(value, MAX_VERSION) if isinstance(value, str) and value else None


async def _root_object(client: ChatClient, path: str) -> dict[str, Any]:
    try:
        body = await client.root_query(path)
    except QUERY_ERRORS:
        return {}
    return body if isinstance(body, dict) else {}

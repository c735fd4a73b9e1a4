"""The adapters of model servers, by the value of `api` in a worker's settings.

To add a provider here, write a class that implements `outlast.model_server.ModelServer`, and add a row.
Settings and the command line accept its `api` at once. A package of somebody else has an entry point in the
group `outlast.model_servers` instead: its name is the `api`, its object is a `Connect`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType
from typing import Any, cast

from outlast.errors import NotReady
from outlast.model_requests import check_model_requests
from outlast.model_server import ModelServer, ServerFacts, ServerOptions
from outlast.text.texts import cut
from outlast_activities.leg_checks import ServerRules
from outlast_activities.providers.server_rules import (
    anthropic_rules,
    chat_rules,
    gemini_rules,
    responses_rules,
    unknown_rules,
)

GROUP = "outlast.model_servers"
"""The group of entry points of adapters in other packages."""

MAX_REASON = 300
"""Bytes of the error of an entry point that cannot be loaded."""

Connect = Callable[[ServerOptions, ServerFacts | None], ModelServer]
"""Creates the adapter of a server. It gets the facts of an earlier probe, if there was one."""


@dataclass(frozen=True)
class Adapter:
    """One row of the registry.

    `connect` creates the adapter of a server. It gets the server's facts if an earlier probe found
    them, and imports the client library only then, because that takes long. `summary` is one line for
    `--help`. `constraint_advice` completes the error message for a server that does not enforce JSON
    Schemas. `rules` returns what is known of a model without a probe.
    """

    api: str
    summary: str
    constraint_advice: str
    connect: Connect
    rules: Callable[[ServerOptions], ServerRules] = unknown_rules


def _chat_completions(options: ServerOptions, facts: ServerFacts | None) -> ModelServer:
    from outlast_activities.providers.chat_completions import ChatCompletions  # noqa: PLC0415

    return ChatCompletions(options, facts)


def _anthropic(options: ServerOptions, facts: ServerFacts | None) -> ModelServer:
    from outlast_activities.providers.hosted import anthropic_messages  # noqa: PLC0415

    return anthropic_messages.connect(options, facts)


def _openai_responses(options: ServerOptions, facts: ServerFacts | None) -> ModelServer:
    from outlast_activities.providers.hosted import openai_responses  # noqa: PLC0415

    return openai_responses.connect(options, facts)


def _gemini(options: ServerOptions, facts: ServerFacts | None) -> ModelServer:
    from outlast_activities.providers.hosted import gemini  # noqa: PLC0415

    return gemini.connect(options, facts)


ADAPTERS: Mapping[str, Adapter] = MappingProxyType(
    {
        adapter.api: adapter
        for adapter in (
            Adapter(
                api="openai-chat",
                summary="OpenAI's chat completions: llama.cpp, SGLang, Ollama, most hosted services",
                constraint_advice=(
                    'it must support response_format with a json_schema; with vLLM set api = "vllm"'
                ),
                connect=_chat_completions,
                rules=chat_rules,
            ),
            Adapter(
                api="vllm",
                summary="vLLM 0.12 or later, with structured_outputs",
                constraint_advice=(
                    'vLLM 0.12 or later is needed; with any other server set api = "openai-chat"'
                ),
                connect=_chat_completions,
                rules=chat_rules,
            ),
            Adapter(
                api="anthropic",
                summary="Anthropic's Messages API: Claude models",
                constraint_advice="choose a model with structured outputs",
                connect=_anthropic,
                rules=anthropic_rules,
            ),
            Adapter(
                api="openai-responses",
                summary="OpenAI's Responses API: OpenAI and Azure",
                constraint_advice="choose a model with structured outputs",
                connect=_openai_responses,
                rules=responses_rules,
            ),
            Adapter(
                api="gemini",
                summary="Google's Gemini API",
                constraint_advice="choose a model with structured outputs",
                connect=_gemini,
                rules=gemini_rules,
            ),
        )
    }
)
"""The adapters of this package."""


def adapter_of(api: str) -> Adapter:
    """Return the adapter of an API. Raises `ValueError` if it is unknown, or cannot be loaded."""
    if api in ADAPTERS:
        return ADAPTERS[api]
    others = {point.name: point for point in entry_points(group=GROUP)}
    if api in others:
        return _loaded(others[api])
    raise ValueError(f"must be one of {', '.join(map(repr, known_apis()))}")


def known_apis() -> list[str]:
    """Return every `api` of this installation."""
    return [*ADAPTERS, *sorted({point.name for point in entry_points(group=GROUP)} - {*ADAPTERS})]


def _loaded(point: EntryPoint) -> Adapter:
    place = f"{point.value} (entry point {GROUP}: {point.name})"
    try:
        connect: Any = point.load()
    except Exception as error:  # noqa: BLE001 the import runs code of another package
        reason = cut(f"{type(error).__name__}: {error}", MAX_REASON)
        raise ValueError(f"{point.name!r} cannot be loaded: {place}: {reason}") from None
    if not callable(cast("object", connect)):
        raise ValueError(f"{point.name!r} cannot be used: {place} is not a function or a class")
    return Adapter(point.name, place, "see the documentation of its package", connect)


def connected(options: ServerOptions, facts: ServerFacts | None) -> ModelServer:
    """Return the adapter of a server. Raises `NotReady` if its options cannot be used."""
    check_model_requests(options.url)
    try:
        adapter = adapter_of(options.api)
    except ValueError as error:
        raise NotReady(f"api: {error}") from None
    return adapter.connect(options, facts)

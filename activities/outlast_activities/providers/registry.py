"""The adapters of model servers, by the value of `api` in a worker's settings.

To add a provider, write a class that implements `outlast.model_server.ModelServer`, and add a row here.
Settings and the command line accept its `api` at once.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from outlast.model_server import ModelServer, ServerFacts, ServerOptions

Connect = Callable[[ServerOptions, ServerFacts | None], ModelServer]


@dataclass(frozen=True)
class Adapter:
    """One row of the registry.

    `connect` creates the adapter of a server. It gets the server's facts if an earlier probe found
    them, and imports the client library only then, because that takes long. `summary` is one line for
    `--help`. `constraint_advice` completes the error message for a server that does not enforce JSON
    Schemas.
    """

    api: str
    summary: str
    constraint_advice: str
    connect: Connect


def _chat_completions(options: ServerOptions, facts: ServerFacts | None) -> ModelServer:
    from outlast_activities.providers.chat_completions import ChatCompletions  # noqa: PLC0415

    return ChatCompletions(options, facts)


def _anthropic(options: ServerOptions, facts: ServerFacts | None) -> ModelServer:
    from outlast_activities.providers import anthropic_messages  # noqa: PLC0415

    return anthropic_messages.connect(options, facts)


ADAPTERS: Mapping[str, Adapter] = MappingProxyType(
    {
        adapter.api: adapter
        for adapter in (
            Adapter(
                api="openai",
                summary="OpenAI's chat completions with response_format: llama.cpp, SGLang, hosted servers",
                constraint_advice=(
                    'it must support response_format with a json_schema; with vLLM set api = "vllm"'
                ),
                connect=_chat_completions,
            ),
            Adapter(
                api="vllm",
                summary="vLLM 0.12 or later, with structured_outputs",
                constraint_advice=(
                    'vLLM 0.12 or later is needed; with any other server set api = "openai"'
                ),
                connect=_chat_completions,
            ),
            Adapter(
                api="anthropic",
                summary="Anthropic's Messages API: Claude models",
                constraint_advice="choose a model with structured outputs",
                connect=_anthropic,
            ),
        )
    }
)

"""The token usage of an answer, in the form of each interface."""

from collections.abc import Sequence
from typing import Any

from ag_ui.core import TokenUsage
from pydantic.alias_generators import to_camel

from outlast.contracts.messages import Message
from outlast.contracts.usage import Usage
from outlast_workers.gateway.run_events import RunEvent

USAGE = "outlast/usage"
"""The entry of the metadata with a usage, where a protocol has no form for it: A2A and MCP."""


class AnswerUsage:
    """Adds up the usage of the turns of one answer. `total` is None as long as no turn has reported any."""

    def __init__(self) -> None:
        self.total: Usage | None = None

    def add(self, event: RunEvent) -> None:
        """Add an event of the type `usage`."""
        self.total = (self.total or Usage()) + Usage.model_validate(event.data["usage"])


def usage_metadata(usage: Usage | None) -> dict[str, Any]:
    """Return the entry `USAGE` with the fields of a usage, or nothing if there is none."""
    return {} if usage is None else {USAGE: usage.model_dump(mode="json")}


def a2a_usage(usage: Usage | None) -> dict[str, Any]:
    """Return the metadata of A2A, with names in camel case. Source: A2A 1.0, section 5.5."""
    return {
        name: {to_camel(field): value for field, value in fields.items()}
        for name, fields in usage_metadata(usage).items()
    }


def usage_of(entries: Sequence[Message]) -> Usage | None:
    """Return what the turns of some entries used, or None if none of them has reported any."""
    used = [entry.usage for entry in entries if entry.usage is not None]
    return sum(used, start=Usage()) if used else None


def response_usage(usage: Usage | None) -> dict[str, Any] | None:
    """Return the `usage` of OpenAI's Responses API. Source: openai 3.57, `ResponseUsage`."""
    if usage is None:
        return None
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {
            "cached_tokens": usage.cached_prompt_tokens,
            "cache_write_tokens": usage.cache_write_tokens,
        },
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.tokens,
    }


def completion_usage(usage: Usage | None) -> dict[str, Any] | None:
    """Return the `usage` of chat completions. Source: openai 3.57, `CompletionUsage`."""
    if usage is None:
        return None
    return {
        "prompt_tokens": usage.prompt_tokens,
        "prompt_tokens_details": {
            "cached_tokens": usage.cached_prompt_tokens,
            "cache_write_tokens": usage.cache_write_tokens,
        },
        "completion_tokens": usage.completion_tokens,
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.tokens,
    }


def ai_sdk_usage(usage: Usage) -> dict[str, Any]:
    """Return `LanguageModelUsage` of Vercel's AI SDK. Source: `ai` 7.0.173, `types/usage.ts`."""
    cached, written = usage.cached_prompt_tokens, usage.cache_write_tokens
    return {
        "inputTokens": usage.prompt_tokens,
        "inputTokenDetails": {
            "noCacheTokens": max(0, usage.prompt_tokens - cached - written),
            "cacheReadTokens": cached,
            "cacheWriteTokens": written,
        },
        "outputTokens": usage.completion_tokens,
        "outputTokenDetails": {
            "textTokens": max(0, usage.completion_tokens - usage.reasoning_tokens),
            "reasoningTokens": usage.reasoning_tokens,
        },
        "totalTokens": usage.tokens,
    }


def agui_usage(usage: Usage | None) -> list[TokenUsage] | None:
    """Return the `usage` of AG-UI's `RUN_FINISHED`. Source: ag-ui-protocol 1.0, `TokenUsage`."""
    if usage is None:
        return None
    return [
        TokenUsage(
            input_tokens=usage.prompt_tokens,
            output_tokens=usage.completion_tokens,
            total_tokens=usage.tokens,
            reasoning_tokens=usage.reasoning_tokens,
            cached_input_tokens=usage.cached_prompt_tokens,
            cache_write_input_tokens=usage.cache_write_tokens,
        )
    ]

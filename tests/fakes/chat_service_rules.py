"""What hosted services with OpenAI's chat completions accept, each by its own rules."""

from collections.abc import Mapping
from dataclasses import dataclass

EXTRA = ("provider", "reasoning", "thinking", "enable_thinking", "chat_template_kwargs")
"""Fields that only some services know."""


@dataclass(frozen=True)
class Rules:
    """What a service or one of its models accepts."""

    model: str
    extra: tuple[str, ...] = ()
    strict_schemas: bool = False
    json_schema: bool = True
    format_with_tools: bool = True
    format_in_stream: bool = True
    forced: tuple[str, ...] = ("required", "named", "none")
    efforts: tuple[str, ...] = ()
    reasons: bool = False
    tools_while_reasoning: bool = True
    max_completion_tokens: bool = True
    max_tokens: bool = True
    thoughts_must_return: bool = False
    nine_characters: bool = False
    user_after_tool: bool = True
    thoughts_field: str = "reasoning_content"
    has_index: bool = True
    finish_of_calls: str = "tool_calls"
    object_arguments: bool = False


SERVICES: Mapping[str, Rules] = {
    # [profile], [openai]: function tools and reasoning do not go together here from GPT-5.4 on.
    "openai": Rules(
        "gpt-5.6-luna",
        strict_schemas=True,
        efforts=("none", "low", "medium", "high", "xhigh"),
        reasons=True,
        tools_while_reasoning=False,
        max_tokens=False,
    ),
    "azure": Rules("gpt-4.1", strict_schemas=True),
    # [profile]: exactly nine characters; [memory]: "Unexpected role 'user' after role 'tool'".
    "mistral": Rules(
        "mistral-large-latest",
        max_completion_tokens=False,
        forced=("required", "named"),
        nine_characters=True,
        user_after_tool=False,
    ),
    # [service]: "Streaming and tool use are not currently supported with Structured Outputs".
    "groq": Rules(
        "gpt-oss-120b",
        format_with_tools=False,
        format_in_stream=False,
        efforts=("low", "medium", "high"),
        forced=("none",),
        thoughts_field="reasoning",
    ),
    "cerebras": Rules("glm-5.3", strict_schemas=True, efforts=("low", "high", "max")),
    "together": Rules("Qwen/Qwen3.8-27B", max_completion_tokens=False),
    "fireworks": Rules(
        "accounts/fireworks/models/glm-5",
        format_with_tools=False,
        max_completion_tokens=False,
        forced=("none",),
    ),
    # [service], [profile]: "This response_format type is unavailable now".
    "deepseek": Rules(
        "deepseek-flash",
        extra=("thinking",),
        json_schema=False,
        forced=("none",),
        max_completion_tokens=False,
        thoughts_must_return=True,
        has_index=False,
    ),
    "moonshot": Rules(
        "kimi-k2.5",
        extra=("thinking",),
        json_schema=False,
        forced=("none",),
        finish_of_calls="stop",
    ),
    "xai": Rules("grok-4.6", efforts=("low", "high")),
    "dashscope": Rules(
        "qwen3-max",
        extra=("enable_thinking",),
        json_schema=False,
        forced=("none",),
        max_completion_tokens=False,
    ),
    "zai": Rules(
        "glm-5.3",
        extra=("thinking",),
        json_schema=False,
        forced=("none",),
        max_completion_tokens=False,
        object_arguments=True,
    ),
    "openrouter": Rules(
        "anthropic/claude-opus-5.5",
        extra=("provider", "reasoning"),
        forced=("none",),
        thoughts_field="reasoning_details",
        max_completion_tokens=False,
    ),
}

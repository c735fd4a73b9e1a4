"""Special tokens of chat templates in texts of people and tools, made harmless.

A server with open weights may read `<|im_start|>` in a tool result as the begin of a message. Then a web
page could write instructions in the name of the system.
"""

import re

JOINER = "\u200d"
"""A zero-width joiner, which no special token contains."""

_SPECIAL = re.compile(
    r"<(?=\|[A-Za-z0-9_ \-]{1,40}\|>)"  # ChatML, Llama 3, Phi, gpt-oss, GLM, Kimi
    r"|<(?=\uff5c[^<>\uff5c]{1,40}\uff5c>)"  # DeepSeek, with full-width bars
    r"|<(?=/?(?:start_of_turn|end_of_turn|bos|eos|pad|unk|s|tool_call|tool_response|think)>)"
    r"|\[(?=/?(?:INST|TOOL_CALLS|TOOL_RESULTS|AVAILABLE_TOOLS|SYSTEM_PROMPT|THINK)\])"
)
"""The first character of a special token of a widely used template."""


def harmless(text: str) -> str:
    """Return a text whose special tokens are broken by an invisible character after the first one."""
    if "<" not in text and "[" not in text:
        return text
    return _SPECIAL.sub(lambda match: match.group() + JOINER, text)

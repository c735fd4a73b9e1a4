"""What a model call remembers of its prompt, for the next call of the same run."""

from dataclasses import dataclass

from outlast.model_server import Prompt

TEMPLATE_TOKENS = 64
"""An allowance for what a chat template adds around new messages, and for tokens across the seams."""


@dataclass(frozen=True)
class PromptSize:
    """The size of a prompt, which bounds the tokens of any longer prompt that begins with the same text."""

    text_bytes: int
    tokens: int

    def max_tokens(self, prompt: Prompt) -> int:
        """Return an upper bound for a prompt that begins with this one: one token per added byte."""
        return self.tokens + max(0, prompt.text_bytes - self.text_bytes) + TEMPLATE_TOKENS


@dataclass
class PromptMemory:
    """What one model call learns for the later calls of its run with the same model.

    `trimmed` is the number of transcript entries whose tool results are left out of the prompt, so that
    later prompts begin with the same text. `size` is the size of the last complete prompt.
    """

    trimmed: int = 0
    size: PromptSize | None = None

    def update(self, other: "PromptMemory") -> None:
        """Take over what a later call learned."""
        self.trimmed, self.size = other.trimmed, other.size

"""Token usage and cost."""

from decimal import Decimal

from outlast.contracts.base import OutputModel


class Usage(OutputModel):
    """Token usage and cost of the model calls of a run, including failed attempts.

    `cached_prompt_tokens` are the part of `prompt_tokens` that the server reports from its prefix cache,
    and `cache_write_tokens` the part that it wrote there. `reasoning_tokens` are the part of
    `completion_tokens` that the model thought.
    """

    prompt_tokens: int = 0
    cached_prompt_tokens: int = 0
    cache_write_tokens: int = 0
    completion_tokens: int = 0
    reasoning_tokens: int = 0
    cost_usd: Decimal = Decimal(0)

    def __add__(self, other: "Usage") -> "Usage":
        """Sum two usages field by field."""
        return Usage(
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            cached_prompt_tokens=self.cached_prompt_tokens + other.cached_prompt_tokens,
            cache_write_tokens=self.cache_write_tokens + other.cache_write_tokens,
            completion_tokens=self.completion_tokens + other.completion_tokens,
            reasoning_tokens=self.reasoning_tokens + other.reasoning_tokens,
            cost_usd=self.cost_usd + other.cost_usd,
        )

    @property
    def tokens(self) -> int:
        """Prompt and completion tokens together, which `max_tokens` limits."""
        return self.prompt_tokens + self.completion_tokens

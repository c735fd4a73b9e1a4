"""Allowance: the most that one model call may still use of its run's tokens and dollars."""

from dataclasses import dataclass
from decimal import ROUND_FLOOR, Decimal
from typing import Literal

from outlast.contracts.agents import Price
from outlast.contracts.generation import MILLION, Tokens

SMALLEST_ANSWER_TOKENS = 16
"""Fewer tokens than this hold no decision; to ask for one would only be paid for."""


@dataclass(frozen=True)
class Allowance:
    """What a call may use, all of its asks and attempts together; None is no bound."""

    tokens: int | None = None
    cost_usd: Decimal | None = None
    price: Price | None = None

    @property
    def is_bounded(self) -> bool:
        """Whether there is anything to keep to."""
        return self.tokens is not None or self.cost_usd is not None

    def completion_tokens(
        self, prompt_tokens: int, spent: Tokens, *, most: int
    ) -> int | Literal["tokens", "cost"]:
        """Return the most tokens of the next answer, `most` at the most, or what there is too little of.

        `prompt_tokens` is the most that the question may have. None of it is counted as cached, for
        nobody can know that before.
        """
        if self.tokens is not None:
            most = min(most, self.tokens - spent.total - prompt_tokens)
            if most < SMALLEST_ANSWER_TOKENS:
                return "tokens"
        if self.cost_usd is None or self.price is None:
            return most
        asking = Tokens(prompt_tokens=prompt_tokens).cost_usd(dearest(self.price))
        left = self.cost_usd - spent.cost_usd(self.price) - asking
        if self.price.completion_usd > 0:
            affordable = left * MILLION / self.price.completion_usd
            most = min(most, int(affordable.to_integral_value(ROUND_FLOOR)))
        return "cost" if left < 0 or most < SMALLEST_ANSWER_TOKENS else most


def dearest(price: Price) -> Price:
    """Return the price with cached prompt tokens at what they could cost at worst."""
    cached = price.cached_prompt_usd
    return price.model_copy(update={"prompt_usd": max(price.prompt_usd, cached or Decimal(0))})

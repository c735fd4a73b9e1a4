"""Allowance: the tokens and dollars that one model call may still use of its run's budget."""

from dataclasses import dataclass
from decimal import ROUND_FLOOR, Decimal
from typing import Literal

from outlast.contracts.agents import Price
from outlast.contracts.generation import MILLION, Tokens

SMALLEST_ANSWER_TOKENS = 16
"""No decision fits in fewer tokens, so a completion with less would be wasted."""


@dataclass(frozen=True)
class Allowance:
    """What one call may use, with all its completions and attempts. None means unlimited."""

    tokens: int | None = None
    cost_usd: Decimal | None = None
    price: Price | None = None

    @property
    def is_bounded(self) -> bool:
        """Whether there is any limit."""
        return self.tokens is not None or self.cost_usd is not None

    def completion_tokens(
        self, prompt_tokens: int, spent: Tokens, *, most: int
    ) -> int | Literal["tokens", "cost"]:
        """Return the maximum tokens of the next answer, or the limit that leaves too little for one.

        `prompt_tokens` is an upper bound for the prompt, and `most` one for the answer. The price of
        the prompt assumes that nothing is cached, because nobody can know that in advance.
        """
        if self.tokens is not None:
            most = min(most, self.tokens - spent.total - prompt_tokens)
            if most < SMALLEST_ANSWER_TOKENS:
                return "tokens"
        if self.cost_usd is None or self.price is None:
            return most
        prompt_cost = Tokens(prompt_tokens=prompt_tokens).cost_usd(highest_price(self.price))
        left = self.cost_usd - spent.cost_usd(self.price) - prompt_cost
        if self.price.completion_usd > 0:
            affordable = left * MILLION / self.price.completion_usd
            most = min(most, int(affordable.to_integral_value(ROUND_FLOOR)))
        return "cost" if left < 0 or most < SMALLEST_ANSWER_TOKENS else most


def highest_price(price: Price) -> Price:
    """Return the price with the higher of the two prompt prices, cached or not."""
    cached = price.cached_prompt_usd
    return price.model_copy(update={"prompt_usd": max(price.prompt_usd, cached or Decimal(0))})

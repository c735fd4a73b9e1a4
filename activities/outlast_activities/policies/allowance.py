"""Allowance: the tokens and dollars that one model call may still use of its run's budget."""

from dataclasses import dataclass
from decimal import ROUND_FLOOR, Context, Decimal, localcontext
from typing import Literal

from outlast.contracts.agents import Price
from outlast.contracts.generation import MILLION, Tokens

SMALLEST_ANSWER_TOKENS = 16
"""No decision fits in fewer tokens, so a completion with less would be wasted."""


_TOTAL = Context(rounding=ROUND_FLOOR, traps=[])
"""Arithmetic that never raises: too large a number is infinite, and an undefined one is not a number."""


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
        with localcontext(_TOTAL):
            return self._affordable_tokens(prompt_tokens, spent, self.price, most=most)

    def _affordable_tokens(
        self, prompt_tokens: int, spent: Tokens, price: Price, *, most: int
    ) -> int | Literal["cost"]:
        prompt_cost = Tokens(prompt_tokens=prompt_tokens).cost_usd(highest_price(price))
        left = (self.cost_usd or Decimal(0)) - spent.cost_usd(price) - prompt_cost
        if not left >= 0:
            return "cost"
        # Compare first: the integer of a number such as 9e999999 takes minutes.
        if not left >= Tokens(completion_tokens=most).cost_usd(price):
            most = int(left * MILLION / price.completion_usd)
        return "cost" if most < SMALLEST_ANSWER_TOKENS else most


def highest_price(price: Price) -> Price:
    """Return the price with the highest of the prompt prices: not cached, read or written."""
    others = (price.cached_prompt_usd, price.cache_write_usd)
    highest = max(price.prompt_usd, *(usd or Decimal(0) for usd in others))
    return price.model_copy(update={"prompt_usd": highest})

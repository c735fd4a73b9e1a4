"""Generations: what the workflow asks of a model call, and what it is told."""

from decimal import Decimal
from typing import Literal

from outlast.contracts.agents import Price
from outlast.contracts.base import WireModel
from outlast.contracts.messages import Decision, Message

MILLION = 1_000_000
"""Prices are for that many tokens."""


class GenerateInput(WireModel):
    """One model call, by reference: the transcript itself is not in it.

    `length` and `digest` say which transcript is meant; `added` are the messages since the last model
    call, tool results and what is long without their content. `tools` are those still allowed (None:
    all of the agent's; empty: only the answer is left), with the calls left where a budget holds;
    `answer` is whether the final answer is admitted. `tokens_left` (prompt and completion together) and
    `cost_left_usd` (at `price`) bound what the call may use, all its attempts included. `server` and
    `model` are those of the leg, and `is_last_leg` whether another one follows.
    """

    turn: int
    agent_digest: str
    length: int
    digest: str
    added: tuple[Message, ...] = ()
    tools: tuple[str, ...] | None = None
    answer: bool = True
    max_calls: int | None = None
    tokens_left: int | None = None
    cost_left_usd: Decimal | None = None
    price: Price | None = None
    server: str | None = None
    model: str | None = None
    is_last_leg: bool = True


class Tokens(WireModel):
    """Tokens that model calls used; `cached_prompt_tokens` are some of the `prompt_tokens`."""

    prompt_tokens: int = 0
    cached_prompt_tokens: int = 0
    completion_tokens: int = 0

    @property
    def total(self) -> int:
        """Prompt and completion tokens together."""
        return self.prompt_tokens + self.completion_tokens

    def plus(self, other: "Tokens") -> "Tokens":
        """Return the sum, field by field."""
        return Tokens(
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            cached_prompt_tokens=self.cached_prompt_tokens + other.cached_prompt_tokens,
            completion_tokens=self.completion_tokens + other.completion_tokens,
        )

    def cost_usd(self, price: Price | None) -> Decimal:
        """Return the dollars that they cost; nothing where no price is known."""
        if price is None:
            return Decimal(0)
        cached_usd = price.cached_prompt_usd
        cached_usd = price.prompt_usd if cached_usd is None else cached_usd
        fresh = self.prompt_tokens - self.cached_prompt_tokens
        return (
            price.prompt_usd * fresh
            + cached_usd * self.cached_prompt_tokens
            + price.completion_usd * self.completion_tokens
        ) / MILLION


class Generation(Tokens):
    """A model's decision, and what it took to get it, all asks and attempts together.

    Without a decision, `out_of` is what the run has not enough left of for another ask.
    """

    decision: Decision | None = None
    out_of: Literal["tokens", "cost"] | None = None
    interrupted: bool = False
    """Whether the run cancelled the call; then there is no decision."""
    model: str = ""
    finish_reason: str = "stop"
    asks: int = 1
    """How often the model was asked, the first time included."""
    waited_s: float = 0
    """How long the last attempt waited for its worker."""
    last_prompt_tokens: int = 0
    """Prompt tokens of the last ask: the next turn's prompt has at least as many."""


class GenerationProgress(WireModel):
    """The heartbeat of a model call: which ask it is at, and the tokens of its answer so far.

    `spent` is what this attempt and those before it used, without the answer in flight.
    """

    ask: int = 1
    tokens: int = 0
    spent: Tokens = Tokens()
    handed_back: int = 0
    """How many attempts before the next one were cut off by the end of their worker."""

    @property
    def used(self) -> Tokens:
        """What was used by then, as far as it is known."""
        return self.spent.plus(Tokens(completion_tokens=self.tokens))

"""Model calls between the workflow and its workers: input, result, heartbeat and token usage."""

from decimal import Decimal
from typing import Annotated, Literal

from pydantic import BeforeValidator

from outlast.contracts.agents import Effort, Price, Way
from outlast.contracts.base import WireModel
from outlast.contracts.messages import Decision, Message, Opaque

MILLION = 1_000_000
"""A price is per this many tokens."""


class GenerateInput(WireModel):
    """The input of one model call. It references the transcript instead of carrying it.

    `length` and `digest` identify the transcript. `added` holds the messages since the last model call,
    long ones without their content. `tools` are the tools that the model may still call: None for all
    of the agent's, empty for none. `max_calls` is the number of tool calls left, if there is a limit.
    `answer` is whether the model may give the final answer. `tokens_left` (prompt and completion
    together) and `cost_left_usd` (at `price`) limit the call with all its attempts. `server`, `model`,
    `way` and `effort` come from the leg. `is_last_leg` is False if another leg follows. The model sees the
    images and files of the `tenant` of the run.
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
    way: Way | None = None
    effort: Effort | None = None
    is_last_leg: bool = True
    tenant: str = "default"


MAX_TOKENS = 10**12
"""Tokens of a usage. More is an error of a server, and would spoil sums and prices."""

MAX_COMPLETIONS_REPORTED = 1_000
"""Completions that a worker may report for one model call."""

MAX_TRIMMED = 10**6
"""Entries that a worker may report as trimmed: no transcript has more."""

MAX_WAITED_S = 10.0**8
"""Seconds that a worker may report as a wait: three years."""


def _clamped(value: object, lowest: float, highest: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:  # noqa: PLR0124 NaN
        return lowest
    return min(max(value, lowest), highest)


def _bounded(lowest: int, highest: int) -> BeforeValidator:
    """Return a validator of a count from another process, which a broken worker can set to anything.

    A value out of bounds becomes the nearest bound, because a result that cannot be decoded would fail
    the workflow task again and again.
    """
    return BeforeValidator(lambda value: int(_clamped(value, lowest, highest)))


def _bounded_seconds(value: object) -> float:
    return float(_clamped(value, 0, MAX_WAITED_S))


TokenCount = Annotated[int, _bounded(0, MAX_TOKENS)]


class Tokens(WireModel):
    """Token usage. `prompt_tokens` includes those that were read from a cache or written to it.

    `completion_tokens` includes the `reasoning_tokens`. Counts are never negative, so a budget cannot
    grow.
    """

    prompt_tokens: TokenCount = 0
    cached_prompt_tokens: TokenCount = 0
    cache_write_tokens: TokenCount = 0
    completion_tokens: TokenCount = 0
    reasoning_tokens: TokenCount = 0

    @property
    def total(self) -> int:
        """Prompt and completion tokens together."""
        return self.prompt_tokens + self.completion_tokens

    def plus(self, other: "Tokens") -> "Tokens":
        """Return the sum, field by field."""
        return Tokens(
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            cached_prompt_tokens=self.cached_prompt_tokens + other.cached_prompt_tokens,
            cache_write_tokens=self.cache_write_tokens + other.cache_write_tokens,
            completion_tokens=self.completion_tokens + other.completion_tokens,
            reasoning_tokens=self.reasoning_tokens + other.reasoning_tokens,
        )

    def cost_usd(self, price: Price | None) -> Decimal:
        """Return the cost in dollars: 0 if no price is known."""
        if price is None:
            return Decimal(0)
        cached_usd, write_usd = price.cached_prompt_usd, price.cache_write_usd
        cached_usd = price.prompt_usd if cached_usd is None else cached_usd
        write_usd = price.prompt_usd if write_usd is None else write_usd
        cached = self.cached_prompt_tokens + self.cache_write_tokens
        return (
            price.prompt_usd * max(0, self.prompt_tokens - cached)
            + cached_usd * self.cached_prompt_tokens
            + write_usd * self.cache_write_tokens
            + price.completion_usd * self.completion_tokens
        ) / MILLION


class Generation(Tokens):
    """The result of one model call: a decision, and the tokens of all its completions and attempts.

    Without a decision, `out_of` names the limit that leaves too little for another completion.
    """

    decision: Decision | None = None
    opaque: Opaque | None = None
    """What the model needs back with this decision."""
    out_of: Literal["tokens", "cost"] | None = None
    interrupted: bool = False
    """Whether the run cancelled the call. There is no decision then."""
    model: str = ""
    finish_reason: str = "stop"
    completions: Annotated[int, _bounded(1, MAX_COMPLETIONS_REPORTED)] = 1
    """The number of prompts that were sent in the last attempt, including those after a wrong answer."""
    waited_s: Annotated[float, BeforeValidator(_bounded_seconds)] = 0
    """Seconds that the last attempt waited for a worker."""
    trimmed: Annotated[int, _bounded(0, MAX_TRIMMED)] = 0
    """The first entries of the transcript whose tool results the prompt left out: it was too long."""
    last_prompt_tokens: TokenCount = 0
    """Prompt tokens of the last completion. The prompt of the next turn has at least as many."""

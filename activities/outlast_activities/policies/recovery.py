"""Recovery: what is done about each class of failure of a model call.

Three people could ask. The activity asks `remedy_for`, for the same call may do better when it is put
otherwise. Temporal is told by `verdict_on` whether and when to try the call again. The workflow asks
`moves_on`, for another leg of the route may do better.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from types import MappingProxyType
from typing import Literal

from outlast.errors import ModelFailure

MAX_ASKS = 3
"""Questions of one attempt: the first, and two that are put otherwise."""

PATIENCE = timedelta(seconds=5)
"""A longer wait than this, of a server that is there, is not waited for where another leg follows."""

Remedy = Literal["more_tokens", "compact", "reask", "warmer", "trim"]
"""More tokens for the answer; no white space in it; the problem told to the model, at temperature 0; a
higher temperature; the oldest tool results left out of the prompt."""


@dataclass(frozen=True)
class Rule:
    """What a class of failure admits.

    `remedies` are tried in the same attempt, in their order, each as often as it can change anything.
    `retryable` says whether another attempt of the same call may do better, `moves_on` whether another
    leg may, `paid` whether tokens were generated, which count against the run's budget.
    """

    remedies: tuple[Remedy, ...] = ()
    retryable: bool = False
    moves_on: bool = True
    paid: bool = False


RULES: Mapping[ModelFailure, Rule] = MappingProxyType(
    {
        ModelFailure.TRUNCATED: Rule(("more_tokens", "reask"), paid=True),
        ModelFailure.WHITESPACE_LOOP: Rule(("compact", "warmer"), paid=True),
        ModelFailure.REPETITION_LOOP: Rule(("warmer",), paid=True),
        ModelFailure.SCHEMA_INVALID: Rule(("reask",), paid=True),
        ModelFailure.UNCONSTRAINED: Rule(("reask",), paid=True),
        ModelFailure.EMPTY: Rule(("warmer",), paid=True),
        ModelFailure.CONTEXT_OVERFLOW: Rule(("trim",)),
        ModelFailure.REFUSAL: Rule(moves_on=False, paid=True),
        ModelFailure.THROTTLED: Rule(retryable=True),
        ModelFailure.OVERLOADED: Rule(retryable=True),
        ModelFailure.TIMEOUT: Rule(retryable=True, paid=True),
        ModelFailure.CONNECTION: Rule(retryable=True, paid=True),
        ModelFailure.SERVER_ERROR: Rule(retryable=True, paid=True),
        ModelFailure.AUTHENTICATION: Rule(),
        ModelFailure.UNKNOWN_MODEL: Rule(),
        ModelFailure.BAD_REQUEST: Rule(),
    }
)


_TYPES = frozenset(failure.value for failure in ModelFailure)


@dataclass(frozen=True)
class Tried:
    """What an attempt has done so far: its asks, and which remedies can still change something."""

    asks: int = 1
    compact: bool = False
    more_tokens_left: bool = True
    trim_left: bool = True


def remedy_for(failure: ModelFailure, tried: Tried) -> Remedy | None:
    """Return how the question is put next in the same attempt; None when nothing is left to try."""
    if failure is not ModelFailure.CONTEXT_OVERFLOW and tried.asks >= MAX_ASKS:
        return None
    spent = {
        "compact": tried.compact,
        "more_tokens": not tried.more_tokens_left,
        "trim": not tried.trim_left,
    }
    return next((one for one in RULES[failure].remedies if not spent.get(one, False)), None)


@dataclass(frozen=True)
class Verdict:
    """Whether Temporal tries a call again on this leg, and after which wait; None is its own backoff."""

    retryable: bool
    wait: timedelta | None = None


def verdict_on(failure: ModelFailure, *, told_wait: timedelta | None, is_last_leg: bool) -> Verdict:
    """Decide about a call that ended in `failure`; `told_wait` is what the server asked for."""
    if not RULES[failure].retryable:
        return Verdict(retryable=False)
    if told_wait is not None and not is_last_leg:
        # One that is known to be away is left at once: the breaker's word, or its own.
        is_away = failure is not ModelFailure.THROTTLED
        if is_away or told_wait > PATIENCE:
            return Verdict(retryable=False)
    return Verdict(retryable=True, wait=told_wait)


def is_model_failure(failure_type: str | None) -> bool:
    """Tell whether an error's type is a class of failure of a model call."""
    return failure_type in _TYPES


def moves_on(failure_type: str) -> bool:
    """Tell of a failed model call, by its error's type, whether another leg may do better."""
    return RULES[ModelFailure(failure_type)].moves_on

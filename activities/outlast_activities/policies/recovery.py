"""Recovery: how each class of failure of a model call is handled, at three levels.

1. `remedy_for` is for the activity: it changes the prompt and tries again in the same attempt.
2. `retry_decision` is for Temporal: whether and when another attempt on this leg follows.
3. `tries_next_leg` is for the workflow: whether another leg of the route follows.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from types import MappingProxyType
from typing import Literal

from outlast.errors import ModelFailure
from outlast_activities.policies.attempts import backoff

MAX_COMPLETIONS = 3
"""Completions in one attempt: the first one, and two with a changed prompt."""

MAX_SERVER_WAIT = timedelta(seconds=5)
"""The longest wait that a throttling server may ask for if another leg follows."""

Remedy = Literal["more_tokens", "forbid_whitespace", "reask", "raise_temperature", "trim_results"]
"""How the next prompt of the same attempt differs: more tokens for the answer; no white space in its
JSON; the wrong answer and its problem shown to the model, at temperature 0; a higher temperature; the
oldest tool results left out."""


@dataclass(frozen=True)
class Rule:
    """How one class of failure is handled.

    `remedies` are tried in order in the same attempt, each as often as it changes anything. `retryable` is
    whether another attempt of the same call may succeed, `tries_next_leg` whether another leg may. With
    `costs_tokens` the server generated tokens, which count towards the run's budget.
    """

    remedies: tuple[Remedy, ...] = ()
    retryable: bool = False
    tries_next_leg: bool = True
    costs_tokens: bool = False


RULES: Mapping[ModelFailure, Rule] = MappingProxyType(
    {
        ModelFailure.TRUNCATED: Rule(("more_tokens", "reask"), costs_tokens=True),
        ModelFailure.WHITESPACE_LOOP: Rule(
            ("forbid_whitespace", "raise_temperature"), costs_tokens=True
        ),
        ModelFailure.REPETITION_LOOP: Rule(("raise_temperature",), costs_tokens=True),
        ModelFailure.SCHEMA_INVALID: Rule(("reask",), costs_tokens=True),
        ModelFailure.UNCONSTRAINED: Rule(("reask",), costs_tokens=True),
        ModelFailure.EMPTY: Rule(("raise_temperature",), costs_tokens=True),
        ModelFailure.CONTEXT_OVERFLOW: Rule(("trim_results",)),
        ModelFailure.REFUSAL: Rule(tries_next_leg=False, costs_tokens=True),
        ModelFailure.THROTTLED: Rule(retryable=True),
        ModelFailure.OVERLOADED: Rule(retryable=True),
        ModelFailure.TIMEOUT: Rule(retryable=True, costs_tokens=True),
        ModelFailure.CONNECTION: Rule(retryable=True, costs_tokens=True),
        ModelFailure.SERVER_ERROR: Rule(retryable=True, costs_tokens=True),
        ModelFailure.AUTHENTICATION: Rule(),
        ModelFailure.UNKNOWN_MODEL: Rule(),
        ModelFailure.BAD_REQUEST: Rule(),
    }
)


_TYPES = frozenset(failure.value for failure in ModelFailure)


@dataclass(frozen=True)
class AttemptState:
    """What an attempt did so far, and which remedies can still change something."""

    completions: int = 1
    forbids_whitespace: bool = False
    can_raise_max_tokens: bool = True
    can_trim_results: bool = True


def remedy_for(failure: ModelFailure, state: AttemptState) -> Remedy | None:
    """Return the next remedy in the same attempt, or None if nothing is left to try."""
    if failure is not ModelFailure.CONTEXT_OVERFLOW and state.completions >= MAX_COMPLETIONS:
        return None
    is_used_up = {
        "forbid_whitespace": state.forbids_whitespace,
        "more_tokens": not state.can_raise_max_tokens,
        "trim_results": not state.can_trim_results,
    }
    remedies = RULES[failure].remedies
    return next((remedy for remedy in remedies if not is_used_up.get(remedy, False)), None)


@dataclass(frozen=True)
class RetryDecision:
    """Whether Temporal retries a call on this leg. `wait` is None for the backoff of the retry policy."""

    retryable: bool
    wait: timedelta | None = None


def retry_decision(
    failure: ModelFailure, *, retry_after: timedelta | None, is_last_leg: bool, attempt: int = 1
) -> RetryDecision:
    """Decide about a call that ended in `failure`. `retry_after` is the wait that the server requests.

    It never shortens the backoff: a server that asks for one second, again and again, would use up the
    attempts within a minute.
    """
    if not RULES[failure].retryable:
        return RetryDecision(retryable=False)
    if retry_after is not None and not is_last_leg:
        # The server or the circuit breaker reports that it is down: the next leg is faster.
        is_down = failure is not ModelFailure.THROTTLED
        if is_down or retry_after > MAX_SERVER_WAIT:
            return RetryDecision(retryable=False)
    wait = None if retry_after is None else max(retry_after, backoff(attempt))
    return RetryDecision(retryable=True, wait=wait)


def is_model_failure(failure_type: str | None) -> bool:
    """Return whether the type of an error is a class of failure of a model call."""
    return failure_type in _TYPES


def tries_next_leg(failure_type: str) -> bool:
    """Return whether another leg may succeed after a model call failed with this type."""
    return RULES[ModelFailure(failure_type)].tries_next_leg

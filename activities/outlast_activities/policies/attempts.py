"""Attempts: those that are a step's own, and those that workers handed back as they ended.

Temporal counts both. A step's own are counted here, so that a deployment that is scaled in often fails no
step: how many there were is in the heartbeat that each hand-back leaves for the next attempt.
"""

import asyncio
from datetime import timedelta

from temporalio import activity

from outlast.contracts.effects import EFFECTFUL, Effect
from outlast.errors import WorkerShutdown

HANDED_BACK = 50
"""How often workers may hand a step back, beside its own attempts: a worker lasts minutes, a step less."""

TOOL_ATTEMPTS: dict[Effect, int] = {"read": 4, "idempotent": 4, "write": 1, "irreversible": 1}
"""Own attempts by effect: what is not known to be harmless twice is never repeated blindly."""

GENERATE_ATTEMPTS = 40
"""On the last leg: some 18 minutes of a server that refuses connections, while it loads its weights or is
put elsewhere. Repeating a call harms nothing; what is final is not repeated."""

SPILL_ATTEMPTS = 3
"""On a leg that has a next one: 3 s of a server that is away, and on it goes."""

AT_ONCE = timedelta(milliseconds=1)
"""Temporal's own backoff would count the hand-backs too."""


def most_attempts(own: int, *, effect: Effect = "read") -> int:
    """Return the attempts that Temporal is to allow of a step with so many of its own."""
    return own if effect in EFFECTFUL else own + HANDED_BACK


def own_attempt(handed_back: int) -> int:
    """Return which of its own attempts this one is, from 1 on."""
    return activity.info().attempt - handed_back


def waited_s() -> float:
    """Return how long this attempt waited for its worker."""
    info = activity.info()
    return max(0.0, (info.started_time - info.current_attempt_scheduled_time).total_seconds())


def is_handed_back(error: BaseException) -> bool:
    """Tell whether an attempt was cut off by the end of its worker, and by nothing else."""
    details = activity.cancellation_details()
    return (
        isinstance(error, asyncio.CancelledError)
        and details is not None
        and details.worker_shutdown
        and not details.cancel_requested
    )


def handed_back() -> WorkerShutdown:
    """Return the failure with which a worker that ends gives a step to the next."""
    said = "its worker ends, and hands it back"
    return WorkerShutdown(said, retryable=True, retry_after=AT_ONCE)

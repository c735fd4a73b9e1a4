"""How many attempts a step has. `outlast_activities.attempt_protocol` explains how they are counted."""

from datetime import timedelta

from outlast.contracts.effects import EFFECTFUL, Effect

HANDED_BACK = 50
"""How often workers may hand a step back, in addition to its own attempts. A worker usually lasts
minutes."""

TOOL_ATTEMPTS: dict[Effect, int] = {"read": 4, "idempotent": 4, "write": 1, "irreversible": 1}
"""Own attempts by effect. A call that may be harmful twice is not retried."""

GENERATE_ATTEMPTS = 40
"""Own attempts on the last leg: about 18 minutes of a server that refuses connections, while it loads
weights or moves to another node. Repeating a model call is harmless, and final failures are not
retried."""

SPILL_ATTEMPTS = 3
"""Own attempts on a leg that another one follows: 3 s of a server that is away, then the next leg."""


FIRST_BACKOFF = timedelta(seconds=1)
MAX_BACKOFF = timedelta(seconds=30)
"""The wait before a retry: at first, and at most. It doubles with each attempt, as in the retry policy."""


def backoff(attempt: int) -> timedelta:
    """Return how long the retry policy waits after an attempt. The first one is 1."""
    wait: timedelta = FIRST_BACKOFF
    for _ in range(min(attempt - 1, MAX_BACKOFF // FIRST_BACKOFF)):
        wait = min(2 * wait, MAX_BACKOFF)
    return wait


def max_attempts(own: int, *, effect: Effect = "read") -> int:
    """Return the attempts that Temporal should allow a step with so many of its own."""
    return own if effect in EFFECTFUL else own + HANDED_BACK

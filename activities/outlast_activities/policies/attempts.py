"""How many attempts a step has. `outlast_activities.attempt_protocol` explains how they are counted."""

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


def max_attempts(own: int, *, effect: Effect = "read") -> int:
    """Return the attempts that Temporal should allow a step with so many of its own."""
    return own if effect in EFFECTFUL else own + HANDED_BACK

"""What a promotion does: its steps, its gates and its limits."""

import hashlib
import json
from dataclasses import dataclass, field

from pydantic import JsonValue

POLLER_TIMEOUT_S = 300.0
"""Seconds until workers of the build poll every task queue: a node starts, an image is pulled."""

GATE_TIMEOUT_S = 600.0
"""Seconds for each gate run."""

HOLD_S = 300.0
"""Seconds that each step of a ramp lasts at least."""

STEP_TIMEOUT_S = 3600.0
"""Seconds after which a step of a ramp ends the promotion if fewer than `min_runs` runs have ended."""

INTERVAL_S = 5.0
"""Seconds between two readings. The server needs about as long to show a change."""

MAX_FAILURE_RATE = 0.05
"""The part of the ended runs that may fail."""

RAMP = (10.0, 50.0)
"""Percent of new runs, before all of them."""

ALL_PERCENT = 100.0
"""The share of the current build."""


@dataclass(frozen=True)
class Gate:
    """An agent, and the input of its gate run."""

    agent: str
    input: JsonValue

    def run_id(self, deployment: str, build_id: str) -> str:
        """Return the workflow id: the same for the same gate, so that a repeated command finds the run."""
        gate = json.dumps([self.agent, self.input], sort_keys=True)
        digest = hashlib.sha256(gate.encode()).hexdigest()[:8]
        return f"gate-{deployment}-{build_id}-{self.agent}-{digest}"


@dataclass(frozen=True)
class Plan:
    """What a promotion does. Times are in seconds."""

    build_id: str
    workflow_queue: str
    """The task queue on which gate runs start."""
    ramp: tuple[float, ...] = RAMP
    gates: tuple[Gate, ...] = ()
    max_failure_rate: float = MAX_FAILURE_RATE
    min_runs: int = 0
    hold_s: float = HOLD_S
    step_timeout_s: float = STEP_TIMEOUT_S
    poller_timeout_s: float = POLLER_TIMEOUT_S
    gate_timeout_s: float = GATE_TIMEOUT_S
    drain_timeout_s: float = 0.0
    interval_s: float = INTERVAL_S
    added_queues: frozenset[str] = field(default_factory=frozenset[str])
    """Names of task queues that workers of the build must poll besides those of the current build."""
    dropped_queues: frozenset[str] = field(default_factory=frozenset[str])
    """Names of task queues of the current build that the build no longer serves."""

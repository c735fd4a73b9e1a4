"""Billable actions of a run on Temporal Cloud, from our own event counts.

A run of N turns has N model calls and N - 1 tool calls. Together with its start and what it records once,
these are 2 N + 3 actions; tests count them in real histories (`bench/actions.py`). Heartbeats come on top,
at the times that docs/decisions/0025-model-calls-heartbeat-late.md gives.
"""

import math
from collections.abc import Iterable

from outlast_workers.plan.simulation import Role

ACTIONS_PER_TURN = 2
ACTIONS_PER_RUN = 3

FIRST_HEARTBEAT_S = {"generate": 4.7, "tools": 3.3}
HEARTBEAT_INTERVAL_S = {"generate": 5.6, "tools": 8.0}


def actions_per_run(turns: int) -> int:
    """Return the actions of a run without its heartbeats."""
    return ACTIONS_PER_TURN * turns + ACTIONS_PER_RUN


def heartbeats(role: Role, calls_s: Iterable[float]) -> int:
    """Return the heartbeats of calls that took so long."""
    first, interval = FIRST_HEARTBEAT_S[role], HEARTBEAT_INTERVAL_S[role]
    return sum(1 + math.floor((call - first) / interval) for call in calls_s if call > first)

"""What each target leaves a worker from SIGTERM to SIGKILL, and what a worker takes of it."""

from outlast_activities.tool_runner import CLOSE_WITHIN_S
from outlast_workers.__main__ import EXIT_WITHIN_S
from outlast_workers.task_queues import CANCEL_S

EXIT_S = CANCEL_S + CLOSE_WITHIN_S + EXIT_WITHIN_S
"""What a worker takes to end beside its drain, whatever a tool does."""

GRACE_S = {"Cloud Run": 10.0, "Azure": 30.0, "Modal": 30.0}
"""By target, as the table of docs/compute.md calls it. A job of Azure's can name no other."""


def fits(target: str, drain_s: float) -> bool:
    """Return whether a worker of a target has ended before it is killed."""
    return drain_s + EXIT_S < GRACE_S[target]

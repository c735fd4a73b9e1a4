"""The states of a task of A2A. Source: A2A 1.0, section 4.1.3."""

from typing import Literal, get_args

State = Literal[
    "TASK_STATE_SUBMITTED",
    "TASK_STATE_WORKING",
    "TASK_STATE_COMPLETED",
    "TASK_STATE_FAILED",
    "TASK_STATE_CANCELED",
    "TASK_STATE_INPUT_REQUIRED",
    "TASK_STATE_REJECTED",
    "TASK_STATE_AUTH_REQUIRED",
]

STATES: tuple[State, ...] = get_args(State)

COMPLETED: State = "TASK_STATE_COMPLETED"
INPUT_REQUIRED: State = "TASK_STATE_INPUT_REQUIRED"
AUTH_REQUIRED: State = "TASK_STATE_AUTH_REQUIRED"

ENDED = frozenset({COMPLETED, "TASK_STATE_FAILED", "TASK_STATE_CANCELED", "TASK_STATE_REJECTED"})
"""States of a task that does not change any more."""

"""Checkpoints: the progress of a long tool call, from which its next attempt continues."""

import json
from contextvars import ContextVar

from pydantic import JsonValue

from outlast.idempotency import check_lease

MAX_CHECKPOINT_BYTES = 64_000
"""Size as JSON. Heartbeats carry the checkpoint, and the server stores each of them."""


class Checkpoint:
    """The checkpoint of a running tool call."""

    def __init__(self, value: JsonValue = None) -> None:
        self.value = value


RUNNING: ContextVar[Checkpoint | None] = ContextVar("checkpoint", default=None)
"""The worker sets it during a call."""


def save_checkpoint(value: JsonValue) -> None:
    """Save the progress of the tool call as JSON of at most 64 kB; the next heartbeat carries it.

    The next attempt, on any worker, reads it with `last_checkpoint`. A worker that shuts down passes on the
    newest checkpoint. After a crash, the checkpoint can be some seconds old. Raises `ValueError` if the
    value is too large or is not JSON, and `AttemptLost` if the worker was frozen for so long that another
    one may make the call.
    """
    check_lease()
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
        size = len(text.encode())
    except (TypeError, ValueError) as error:
        raise ValueError(f"a checkpoint must be JSON: {error}") from None
    if size > MAX_CHECKPOINT_BYTES:
        raise ValueError(f"a checkpoint has at most {MAX_CHECKPOINT_BYTES:,} bytes, not {size:,}")
    running = RUNNING.get()
    if running is not None:
        # A copy, in the form that is read later: tuples become lists, and keys become text.
        running.value = json.loads(text)


def last_checkpoint() -> JsonValue:
    """Return what this or an earlier attempt of the tool call saved last, or None."""
    running = RUNNING.get()
    return None if running is None else running.value

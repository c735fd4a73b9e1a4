"""Checkpoints: how far a long tool call has come, for its next attempt to go on from."""

import json
from contextvars import ContextVar

from pydantic import JsonValue

MAX_CHECKPOINT_BYTES = 64_000
"""As JSON: it goes with heartbeats, and each that reaches the server is stored."""


class Checkpoint:
    """The checkpoint of the tool call that is running."""

    def __init__(self, value: JsonValue = None) -> None:
        self.value = value


RUNNING: ContextVar[Checkpoint | None] = ContextVar("checkpoint", default=None)
"""Set by the worker around a call."""


def save_checkpoint(value: JsonValue) -> None:
    """Note how far the tool call has come, as JSON of at most 64 kB; the next heartbeat carries it.

    An attempt after this one, on whatever worker, finds it with `last_checkpoint`. A worker that ends hands
    the call back with the newest; one that is killed, with that of some seconds ago. Raises `ValueError`
    for what is too large or no JSON.
    """
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
        size = len(text.encode())
    except (TypeError, ValueError) as error:
        raise ValueError(f"a checkpoint is JSON: {error}") from None
    if size > MAX_CHECKPOINT_BYTES:
        raise ValueError(f"a checkpoint may have {MAX_CHECKPOINT_BYTES:,} bytes, not {size:,}")
    running = RUNNING.get()
    if running is not None:
        # As it is now, and as it will be read: tuples are lists, keys are text.
        running.value = json.loads(text)


def last_checkpoint() -> JsonValue:
    """Return what the tool call saved last, in this attempt or one before; None at its beginning."""
    running = RUNNING.get()
    return None if running is None else running.value

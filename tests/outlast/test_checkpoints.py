"""Checkpoints: what a tool may save, and what it finds."""

from collections.abc import Iterator
from typing import Any

import pytest

from outlast.checkpoints import (
    MAX_CHECKPOINT_BYTES,
    RUNNING,
    Checkpoint,
    last_checkpoint,
    save_checkpoint,
)


@pytest.fixture
def running() -> Iterator[Checkpoint]:
    """A tool call that is running."""
    checkpoint = Checkpoint()
    token = RUNNING.set(checkpoint)
    yield checkpoint
    RUNNING.reset(token)


@pytest.mark.parametrize(
    ("saved", "found"),
    [
        (3, 3),
        ((1, 2), [1, 2]),
        ({1: "a"}, {"1": "a"}),
        (None, None),
        ("x" * 60_000, "x" * 60_000),
    ],
)
def test_a_checkpoint_is_found_as_json_has_it(running: Checkpoint, saved: Any, found: Any) -> None:
    save_checkpoint(saved)
    assert last_checkpoint() == found


def test_a_checkpoint_stays_as_it_was_when_it_was_saved(running: Checkpoint) -> None:
    done = [1]
    save_checkpoint(done)  # type: ignore[arg-type]  # a list of int is JSON
    done.append(2)
    assert last_checkpoint() == [1]


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (float("nan"), "a checkpoint must be JSON"),
        ({1, 2}, "a checkpoint must be JSON"),
        ("x" * MAX_CHECKPOINT_BYTES, "at most 64,000 bytes"),
    ],
)
def test_what_is_no_checkpoint_is_refused_where_it_is_saved(
    running: Checkpoint, value: Any, why: str
) -> None:
    save_checkpoint(1)
    with pytest.raises(ValueError, match=why):
        save_checkpoint(value)
    assert last_checkpoint() == 1


def test_outside_of_a_call_nothing_is_saved() -> None:
    save_checkpoint(1)
    assert last_checkpoint() is None

"""The floor: what Temporal itself costs. A turn is two activities in series that do nothing."""

import time
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from temporalio import activity, workflow


@dataclass
class FloorInput:
    """How many turns, and whether the run then waits for a signal, as a conversation does."""

    turns: int
    stay_open: bool = False


@activity.defn
async def think(turn: int) -> int:
    """Stand where a model call would be."""
    return turn


@activity.defn
async def act(turn: int) -> int:
    """Stand where a tool call would be."""
    return turn


@activity.defn
async def note_start() -> int:
    """Return when it was started, in nanoseconds."""
    return time.time_ns()


@workflow.defn
class FloorWorkflow:
    """Takes its turns, and returns how many there were."""

    def __init__(self) -> None:
        self._finished = False

    @workflow.run
    async def run(self, given: FloorInput) -> int:
        """Run the turns one after another."""
        timeout = timedelta(minutes=1)
        for turn in range(given.turns):
            await workflow.execute_activity(think, turn, start_to_close_timeout=timeout)
            await workflow.execute_activity(act, turn, start_to_close_timeout=timeout)
        if given.stay_open:
            await workflow.wait_condition(lambda: self._finished)
        return given.turns

    @workflow.signal
    def finish(self) -> None:
        """Let a run end that stayed open."""
        self._finished = True


@workflow.defn
class FloorWaiting:
    """Stands where a model call would be, waits for a decision, and acts on it."""

    def __init__(self) -> None:
        self._is_decided = False

    @workflow.run
    async def run(self) -> None:
        """Run one activity before the decision, and one after it."""
        timeout = timedelta(minutes=1)
        await workflow.execute_activity(think, 1, start_to_close_timeout=timeout)
        await workflow.wait_condition(lambda: self._is_decided)
        await workflow.execute_activity(note_start, start_to_close_timeout=timeout)

    @workflow.update
    async def decide(self, decision: dict[str, Any]) -> None:
        """Let the run act, whatever was decided."""
        del decision
        self._is_decided = True

"""The floor: what Temporal itself costs. A turn is two activities in series that do nothing."""

from dataclasses import dataclass
from datetime import timedelta

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

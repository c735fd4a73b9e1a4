"""The gate before each task: it bounds the work of one workflow task, and closes for a continue-as-new."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from temporalio import workflow

from outlast.pipelines.jq.budget import MAX_STEPS, Budget
from outlast_workflows.pipelines.task_errors import TaskError

MAX_HISTORY_BYTES = 600_000
"""History after which a pipeline continues as new, so that no run of it reaches 1 MB."""

MAX_HISTORY_EVENTS = 8_000
"""Events after which a pipeline continues as new. The server ends a run with 51,200."""

MAX_WAITING_EVENTS = 25_000
"""Events after which a pipeline continues as new although a branch of it waits, for a person or a timer."""

MAX_START_BYTES = 1_000_000
"""Inputs of calls that one workflow task starts. The server rejects a response of 4 MB."""

MAX_TASK_RUNS = 100_000
"""Tasks that one pipeline runs, over all its loops: every run must end."""

TASK_STEPS = 250
"""What a task itself counts in steps of expressions: a loop of empty tasks would block the worker too."""

PAUSE = timedelta(milliseconds=1)


class Gate:
    """Counts what a run does, and holds its tasks back when the run is to continue as new."""

    def __init__(self) -> None:
        self.is_closing = False
        self.busy = 0
        """Calls and timers that are under way."""
        self.waiting = 0
        """Those of them that wait for people, events or timers."""
        self._steps = 0
        self._started_bytes = 0
        self._activation = -1

    @property
    def is_drained(self) -> bool:
        """Whether the run may continue as new now: nothing is under way, and no task goes on."""
        return self.is_closing and self.busy == 0

    @contextmanager
    def under_way(self, *, waits: bool = False) -> Iterator[None]:
        """Count work that a continue-as-new must not interrupt; `waits` if it waits for people."""
        self.busy += 1
        self.waiting += waits
        try:
            yield
        finally:
            self.busy -= 1
            self.waiting -= waits

    async def enter(self, task_runs: int) -> None:
        """Wait before a task: never, for a moment, or for ever if the run is to continue as new."""
        if task_runs > MAX_TASK_RUNS:
            raise TaskError(f"a pipeline runs at most {MAX_TASK_RUNS:,} tasks")
        self._steps += TASK_STEPS
        if self._steps >= MAX_STEPS:
            # A workflow task ends here, so that expressions do not block the worker for long.
            self._steps = 0
            await workflow.sleep(PAUSE, summary="lets other runs work")
        self._close_if_due()
        if self.is_closing:
            # The run continues as new: the task goes on in the next one, at its cursor.
            await workflow.wait_condition(lambda: False)

    def _close_if_due(self) -> None:
        info = workflow.info()
        length = info.get_current_history_length()
        is_due = (
            length >= MAX_HISTORY_EVENTS
            or info.get_current_history_size() >= MAX_HISTORY_BYTES
            or info.is_continue_as_new_suggested()
        )
        if is_due and (self.waiting == 0 or length >= MAX_WAITING_EVENTS):
            self.is_closing = True

    def count(self, budget: Budget) -> None:
        """Count the steps of an expression."""
        self._steps += budget.used

    async def start(self, size: int) -> None:
        """Wait until a call with an input of some bytes may start in this workflow task."""
        while True:  # bounded: each pass is another workflow task
            activation = workflow.info().get_current_history_length()
            if activation != self._activation:
                self._activation, self._started_bytes = activation, 0
            if self._started_bytes == 0 or self._started_bytes + size <= MAX_START_BYTES:
                self._started_bytes += size
                return
            await workflow.sleep(PAUSE, summary="waits to start more calls")

"""Cold legs: task queues on which lately no worker took a step in time, as the runs of a process saw it."""

from datetime import datetime


class ColdLegs:
    """Until when each such task queue is passed over."""

    def __init__(self) -> None:
        self._until: dict[str, datetime] = {}

    def note(self, task_queue: str, *, until: datetime) -> None:
        """Note that nobody took a step there; workflows call it from their threads."""
        self._until[task_queue] = until

    def at(self, now: datetime) -> dict[str, datetime]:
        """Return those that are still passed over."""
        for task_queue, until in list(self._until.items()):
            if until <= now:
                self._until.pop(task_queue, None)
        return dict(self._until)


COLD_LEGS = ColdLegs()
"""Of this process. A run reads it through an activity alone, whose result is in its history."""

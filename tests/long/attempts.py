"""How often activities were attempted, as histories tell."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from temporalio.api.enums.v1 import EventType, TimeoutType
from temporalio.api.failure.v1 import Failure
from temporalio.api.history.v1 import HistoryEvent


@dataclass
class ModelCalls:
    """The model calls of histories."""

    attempts: list[int] = field(default_factory=list)
    """The attempt that ended each call that a worker began, as far as the history tells."""
    unknown: int = 0
    """Calls without such an attempt. Their run ended or took them back; a worker may have begun them."""
    recorded: int = 0
    """Calls whose answer is in the history."""
    causes: Counter[str] = field(default_factory=Counter)
    """Why calls were attempted again. The server keeps the last failure of a call."""

    def add(self, events: Iterable[HistoryEvent]) -> None:
        """Add the calls of a history."""
        calls: set[int] = set()
        for event in events:
            scheduled = event.activity_task_scheduled_event_attributes
            started = event.activity_task_started_event_attributes
            completed = event.activity_task_completed_event_attributes
            if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED:
                if scheduled.activity_type.name == "generate":
                    calls.add(event.event_id)
                    self.unknown += 1
            elif event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_STARTED:
                if started.scheduled_event_id in calls:
                    self.attempts.append(started.attempt)
                    self.unknown -= 1
                    if started.attempt > 1:
                        self.causes[_cause(started.last_failure)] += 1
            elif event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED:
                self.recorded += completed.scheduled_event_id in calls


def model_attempts(events: Iterable[HistoryEvent]) -> list[int]:
    """Return the attempt that ended each model call of a history."""
    calls = ModelCalls()
    calls.add(events)
    return calls.attempts


def _cause(failure: Failure) -> str:
    if failure.HasField("timeout_failure_info"):
        return TimeoutType.Name(failure.timeout_failure_info.timeout_type)
    return f"{failure.application_failure_info.type}: {failure.message}"

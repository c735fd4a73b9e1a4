"""How often activities were attempted, as histories tell."""

from collections.abc import Iterable

from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent


def model_attempts(events: Iterable[HistoryEvent]) -> list[int]:
    """Return the attempt that ended each model call of a history."""
    scheduled: dict[int, str] = {}
    attempts = []
    for event in events:
        if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED:
            scheduled_event = event.activity_task_scheduled_event_attributes
            scheduled[event.event_id] = scheduled_event.activity_type.name
        elif event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_STARTED:
            started = event.activity_task_started_event_attributes
            if scheduled[started.scheduled_event_id] == "generate":
                attempts.append(started.attempt)
    return attempts

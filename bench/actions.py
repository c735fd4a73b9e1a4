"""Billable actions of a run, counted in its history with the rules of Temporal Cloud.

Source: https://docs.temporal.io/evaluate/cloud/actions, read in November 2026. Heartbeats and queries are
actions too, but no history has them.
"""

from collections.abc import Iterable

from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent

CHANGE_VERSION = "TemporalChangeVersion"
"""The search attribute of patches, whose upserts are not billed."""

ONE_ACTION = (
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED,
    EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED,
    EventType.EVENT_TYPE_TIMER_STARTED,
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED,
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ACCEPTED,
)


def billable_actions(events: Iterable[HistoryEvent]) -> int:
    """Return the billable actions of a history. All markers of one workflow task are one action."""
    actions = 0
    tasks_with_markers: set[int] = set()
    for event in events:
        if event.event_type in ONE_ACTION:
            actions += 1
        elif event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_STARTED:
            actions += max(0, event.activity_task_started_event_attributes.attempt - 1)
        elif event.event_type == EventType.EVENT_TYPE_START_CHILD_WORKFLOW_EXECUTION_INITIATED:
            actions += 2
        elif event.event_type == EventType.EVENT_TYPE_UPSERT_WORKFLOW_SEARCH_ATTRIBUTES:
            upserted = event.upsert_workflow_search_attributes_event_attributes
            actions += set(upserted.search_attributes.indexed_fields) != {CHANGE_VERSION}
        elif event.event_type == EventType.EVENT_TYPE_MARKER_RECORDED:
            marker = event.marker_recorded_event_attributes
            tasks_with_markers.add(marker.workflow_task_completed_event_id)
    return actions + len(tasks_with_markers)

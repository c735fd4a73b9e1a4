"""Billable actions are counted as Temporal Cloud counts them."""

from typing import Any

import pytest
from google.protobuf.json_format import ParseDict
from temporalio.api.history.v1 import HistoryEvent

from bench.actions import billable_actions


def event(name: str, **attributes: Any) -> HistoryEvent:
    return ParseDict({"event_type": f"EVENT_TYPE_{name}", **attributes}, HistoryEvent())


def marker(task: int) -> HistoryEvent:
    return event(
        "MARKER_RECORDED",
        marker_recorded_event_attributes={"workflow_task_completed_event_id": str(task)},
    )


def upsert(*names: str) -> HistoryEvent:
    fields: dict[str, Any] = {name: {} for name in names}
    return event(
        "UPSERT_WORKFLOW_SEARCH_ATTRIBUTES",
        upsert_workflow_search_attributes_event_attributes={
            "search_attributes": {"indexed_fields": fields}
        },
    )


def started(attempt: int) -> HistoryEvent:
    return event(
        "ACTIVITY_TASK_STARTED", activity_task_started_event_attributes={"attempt": attempt}
    )


@pytest.mark.parametrize(
    ("events", "actions"),
    [
        ([event("WORKFLOW_EXECUTION_STARTED"), event("WORKFLOW_TASK_SCHEDULED")], 1),
        ([event("ACTIVITY_TASK_SCHEDULED"), started(1)], 1),
        ([event("ACTIVITY_TASK_SCHEDULED"), started(4)], 4),
        ([marker(4), marker(4), marker(9)], 2),
        ([upsert("TemporalChangeVersion"), upsert("AgentName", "AgentStatus")], 1),
        ([event("TIMER_STARTED"), event("TIMER_CANCELED")], 1),
        ([event("START_CHILD_WORKFLOW_EXECUTION_INITIATED")], 2),
        ([event("WORKFLOW_EXECUTION_UPDATE_ACCEPTED"), event("WORKFLOW_EXECUTION_SIGNALED")], 2),
    ],
)
def test_actions_of_a_history(events: list[HistoryEvent], actions: int) -> None:
    assert billable_actions(events) == actions

"""Resets of runs, as `temporal workflow reset` makes them."""

import asyncio
import uuid
from typing import Any

from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.client import Client

CHILD = "start_child_workflow_execution_initiated_event_attributes"
TIMER = "timer_started_event_attributes"
ACTIVITY = "activity_task_scheduled_event_attributes"


async def reset(temporal: Client, run_id: str, *, before: str, activity: str = "") -> None:
    """Reset a run to the workflow task that starts its first child, or its first activity of a type."""
    handle = temporal.get_workflow_handle(run_id)
    started = [
        getattr(event, before)
        for event in (await handle.fetch_history()).events
        if event.WhichOneof("attributes") == before
    ]
    request = ResetWorkflowExecutionRequest(
        namespace=temporal.namespace, reason="test", request_id=uuid.uuid4().hex
    )
    request.workflow_execution.workflow_id = run_id
    request.workflow_execution.run_id = (await handle.describe()).run_id
    request.workflow_task_finish_event_id = next(
        each.workflow_task_completed_event_id
        for each in started
        if not activity or each.activity_type.name == activity
    )
    await temporal.workflow_service.reset_workflow_execution(request)


async def end_of(temporal: Client, run_id: str) -> Any:
    """Return the result of the newest run with this workflow id."""
    return await asyncio.wait_for(temporal.get_workflow_handle(run_id).result(), 60)

"""Pipelines on a stage: start one as the stock CLI does, and read its end."""

import asyncio
import uuid
from typing import Any

import pytest
from temporalio.client import WorkflowFailureError
from temporalio.exceptions import ApplicationError

from outlast.client.runs import Run
from tests.stage import Stage

HEAD = {"dsl": "1.0.3", "namespace": "test", "name": "sample", "version": "1.0.0"}


def document(*tasks: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"document": HEAD, "do": list(tasks), **fields}


def tool_task(name: str, **arguments: Any) -> dict[str, Any]:
    return {"call": "tool", "with": {"tool": name, "arguments": arguments}}


async def start(stage: Stage, pipeline: dict[str, Any], value: Any = None, **more: Any) -> Run:
    handle = await stage.client.temporal.start_workflow(
        "PipelineWorkflow",
        {"pipeline": pipeline, "input": value, **more},
        id=f"pipeline-{uuid.uuid4().hex[:8]}",
        task_queue=stage.task_queue,
    )
    return stage.started(handle.id)


async def result_of(stage: Stage, run: Run) -> dict[str, Any]:
    handle = stage.client.temporal.get_workflow_handle(run.id, result_type=dict)
    result: dict[str, Any] = await handle.result()
    return result


async def output_of(stage: Stage, pipeline: dict[str, Any], value: Any = None) -> Any:
    return (await result_of(stage, await start(stage, pipeline, value)))["output"]


async def failure_of(stage: Stage, pipeline: Any, value: Any = None) -> ApplicationError:
    return await failure_of_run(stage, await start(stage, pipeline, value))


async def failure_of_run(stage: Stage, run: Run) -> ApplicationError:
    with pytest.raises(WorkflowFailureError) as caught:
        await result_of(stage, run)
    cause = caught.value.cause
    assert isinstance(cause, ApplicationError)
    return cause


async def child_of(stage: Stage, run: Run) -> str:
    """Return the id of the first child of a run, when it has started."""
    handle = stage.client.temporal.get_workflow_handle(run.id)
    async with asyncio.timeout(60):
        while True:
            for event in (await handle.fetch_history()).events:
                if event.HasField("child_workflow_execution_started_event_attributes"):
                    started = event.child_workflow_execution_started_event_attributes
                    return str(started.workflow_execution.workflow_id)
            await asyncio.sleep(0.1)

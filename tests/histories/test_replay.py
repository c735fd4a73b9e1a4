"""Runs that began on an earlier version go on under this one."""

import json
from pathlib import Path

import pytest
from outlast_workflows.agent import AgentWorkflow
from outlast_workflows.pipelines.workflow import PipelineWorkflow
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer

from outlast.temporal.plugin import OutlastPlugin

RECORDED = sorted(Path(__file__).parent.glob("*/*.json"))


@pytest.mark.parametrize("file", RECORDED, ids=lambda file: f"{file.parent.name}-{file.stem}")
async def test_a_recorded_history_replays(file: Path) -> None:
    replayer = Replayer(workflows=[AgentWorkflow, PipelineWorkflow], plugins=[OutlastPlugin()])
    events = json.loads(file.read_text())["events"]
    workflow_id = events[0]["workflowExecutionStartedEventAttributes"]["workflowId"]
    await replayer.replay_workflow(WorkflowHistory.from_json(workflow_id, file.read_text()))


def test_there_are_recorded_histories() -> None:
    assert len(RECORDED) >= 3

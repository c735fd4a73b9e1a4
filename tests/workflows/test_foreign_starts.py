"""Inputs and states that are none of ours: the run fails by name before it acts."""

import asyncio
import uuid
from types import SimpleNamespace
from typing import Any

import pytest
from outlast_workflows.agent import AgentWorkflow
from temporalio import workflow
from temporalio.api.common.v1 import Payload
from temporalio.client import Client
from temporalio.common import RawValue
from temporalio.worker import Worker

from outlast.errors import BadRequest
from outlast.testing import ScriptedModel
from tests.stage import on_stage
from tests.workflows.ledger_agents import fails, payload, plain

# Inputs of a run

UNREADABLE = payload(b'"y"', b"binary/encrypted")
GOOD = payload(b'{"agent":"plain","input":"x"}')
INPUTS = {
    "unreadable": [UNREADABLE],
    "unreadable second": [GOOD, UNREADABLE],
    "two unreadable": [UNREADABLE, UNREADABLE],
    "three": [GOOD, UNREADABLE, UNREADABLE],
    "two good": [GOOD, GOOD],
    "no JSON second": [GOOD, payload(b"{")],
    "no UTF-8 second": [GOOD, payload(b"\xff\xfe")],
    "deep second": [GOOD, payload(b"[" * 10_000)],
    "digits second": [GOOD, payload(b"1" * 10_000)],
    "protobuf second": [GOOD, payload(b"{}", b"json/protobuf")],
    "no encoding": [RawValue(Payload(data=b"{}"))],
    "a null": [payload(b"", b"binary/null")],
    "a long encoding": [payload(b"{}", b"x" * 5_000)],
    "an encoding that is not UTF-8": [payload(b"{}", b"\xff\xfe")],
}


@pytest.mark.parametrize("inputs", INPUTS.values(), ids=list(INPUTS))
async def test_a_start_that_cannot_be_read_fails_by_name(
    temporal: Client, inputs: list[RawValue]
) -> None:
    async with on_stage(temporal, ScriptedModel([]), [plain]) as stage:
        handle = await temporal.start_workflow(
            "AgentWorkflow", args=inputs, id=uuid.uuid4().hex, task_queue=stage.task_queue
        )
        failure = await fails(handle)
    assert failure.type == BadRequest.__name__
    assert len(failure.message) < 500


CARRIED = {
    "no JSON": b"{not json",
    "no UTF-8": b"\xff\xfe",
    "no text": b'{"packed":1}',
    "not packed": b'{"packed":"x","state":{},"inbound":{}}',
    "digits": b'{"packed":' + b"1" * 5_000 + b"}",
    "deep": b'{"packed":' + b"[" * 50_000,
    "overflow": b'{"packed":"","state":{"started_at":1e400},"inbound":{}}',
    "a list": b'["packed"]',
    "null": b"null",
    "twice": b'{"packed":"","packed":""}',
    "a half": b'{"packed":"\\ud83d","state":{},"inbound":{}}',
}


@pytest.mark.parametrize("data", CARRIED.values(), ids=list(CARRIED))
def test_a_carried_state_that_is_none_is_rejected(
    data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = SimpleNamespace(continued_run_id="r1", cron_schedule=None)
    monkeypatch.setattr(workflow, "info", lambda: info)
    made = AgentWorkflow(payload(data))
    # What cannot be a state is read as a request, and rejected as one.
    assert made._restored_state is None
    assert made._rejection is None or made._rejection.type == BadRequest.__name__


async def test_each_run_of_a_cron_schedule_reads_its_input_as_a_request(temporal: Client) -> None:
    data = b'{"packed":"x","state":{"agent":{}},"inbound":{}}'
    async with on_stage(temporal, ScriptedModel([]), [plain]) as stage:
        run_id = f"cron-{uuid.uuid4().hex[:8]}"
        await temporal.start_workflow(
            "AgentWorkflow",
            payload(data),
            id=run_id,
            task_queue=stage.task_queue,
            cron_schedule="@every 1s",
        )
        try:
            async with asyncio.timeout(40):
                while (
                    len([one async for one in temporal.list_workflows(f"WorkflowId = '{run_id}'")])
                    < 3
                ):
                    await asyncio.sleep(0.3)
        finally:
            await temporal.get_workflow_handle(run_id).terminate()


# State that another workflow hands over


def forged() -> dict[str, Any]:
    """Return a state in which the tool of an approval needs none."""
    route = {"legs": [{"task_queue": "x"}]}
    agent = {"name": "plain", "instructions": "x", "output_schema": {}, "route": route}
    state = {
        "agent": agent,
        "agent_digest": "",
        "limits": {"max_turns": 5},
        "started_at": "2026-01-01T00:00:00Z",
    }
    return {"state": state, "inbound": {}, "packed": "z1:eJyLjgUAARUAuQ=="}


@workflow.defn(name="Evil", sandboxed=False)
class Evil:
    @workflow.run
    async def run(self, task_queue: str) -> None:
        options: Any = {"workflow": "AgentWorkflow", "task_queue": task_queue}
        workflow.continue_as_new(forged(), **options)


@workflow.defn(name="AgentWorkflow", sandboxed=False)
class Impostor:
    @workflow.run
    async def run(self, task_queue: str) -> None:
        workflow.continue_as_new(forged(), task_queue=task_queue)


@pytest.mark.parametrize(
    ("kind", "why"), [(Evil, "'Evil' handed the state over"), (Impostor, "a run of the task queue")]
)
async def test_a_state_that_a_foreign_workflow_hands_over_is_rejected(
    temporal: Client, kind: Any, why: str
) -> None:
    queue = f"evil-{uuid.uuid4().hex[:8]}"
    async with (
        on_stage(temporal, ScriptedModel([]), [plain]) as stage,
        Worker(temporal, task_queue=queue, workflows=[kind]),
    ):
        name = "Evil" if kind is Evil else "AgentWorkflow"
        handle = await temporal.start_workflow(
            name, stage.task_queue, id=uuid.uuid4().hex, task_queue=queue
        )
        failure = await fails(handle)
    assert failure.type == BadRequest.__name__
    assert why in failure.message

"""The table of commands: each row is an update, its validator and a signal; early ones keep their order."""

import asyncio
from typing import Any

import pytest
from outlast_workflows.agent import AgentWorkflow
from outlast_workflows.people.commands import COMMANDS
from temporalio import workflow
from temporalio.client import Client, WorkflowUpdateFailedError

from outlast import Agent
from outlast.testing import ScriptedModel, answer
from tests.stage import on_stage, staged_settings

desk = Agent(name="desk", instructions="Answer.")


def test_each_command_is_an_update_with_a_validator_and_a_signal_of_its_name() -> None:
    definition = workflow._Definition.must_from_class(AgentWorkflow)
    names = {command.name for command in COMMANDS}
    assert names == {"decide", "say", "pause", "resume", "finish"}
    assert set(definition.signals) == names
    assert set(definition.updates) == names | {"reply"}
    assert all(update.validator for update in definition.updates.values())


@pytest.mark.parametrize(
    ("signals", "paused_by"),
    [
        ([("pause", {"by": "ann"}), ("resume", {}), ("pause", {"by": "bo"})], "bo"),
        ([("resume", {}), ("pause", {"by": "ann"}), ("say", {"text": "more"})], "ann"),
    ],
)
async def test_signals_of_the_first_workflow_task_apply_in_the_order_in_which_they_arrived(
    temporal: Client, signals: list[tuple[str, dict[str, Any]]], paused_by: str
) -> None:
    settings = staged_settings(cached=1000)
    client = temporal
    workflow_id = f"early-{settings.queue('workflows')}-{paused_by}"
    handle = await client.start_workflow(
        "AgentWorkflow",
        {"agent": "desk", "input": "go"},
        id=workflow_id,
        task_queue=settings.queue("workflows"),
    )
    for name, payload in signals:
        await handle.signal(name, payload)
    async with on_stage(
        client, ScriptedModel([answer("done")]), [desk], settings=settings
    ) as stage:
        run = stage.started(workflow_id)
        async with asyncio.timeout(30):
            while not (doing := await doing_of(stage, workflow_id)).startswith("paused"):
                await asyncio.sleep(0.1)
        assert doing.startswith(f"paused by {paused_by}")
        await run.resume()
        assert (await run.result()).output == "done"


async def doing_of(stage: Any, workflow_id: str) -> str:
    try:
        return str((await stage.client.get(workflow_id).progress()).doing)
    except Exception:  # noqa: BLE001 the run is not open yet
        return ""


@pytest.mark.parametrize("mode", ["task", "conversation"])
async def test_finish_before_a_run_is_open_ends_a_conversation_only(
    temporal: Client, mode: str
) -> None:
    settings = staged_settings(cached=1000)
    handle = await temporal.start_workflow(
        "AgentWorkflow",
        {"agent": "desk", "input": "go", "mode": mode},
        id=f"finish-{mode}-{settings.queue('workflows')}",
        task_queue=settings.queue("workflows"),
    )
    finishing = asyncio.create_task(handle.execute_update("finish", {}))
    await asyncio.sleep(0.5)  # it waits for the first workflow task
    async with on_stage(
        temporal, ScriptedModel([answer("done")]), [desk], settings=settings
    ) as stage:
        run = stage.started(handle.id)
        if mode == "task":
            with pytest.raises(WorkflowUpdateFailedError) as raised:
                await finishing
            assert "finish ends a conversation; this run is a task" in str(raised.value.cause)
        else:
            assert await finishing == "ends after this turn"
        assert (await run.result()).output == "done"

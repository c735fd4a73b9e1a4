"""The SDK over clients and workers that know nothing of outlast."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from temporalio import workflow
from temporalio.client import Client as TemporalClient
from temporalio.client import WorkflowFailureError
from temporalio.exceptions import CancelledError
from temporalio.worker import Worker

from outlast import Agent, BadRequest, Client, Leg, Limits, Route, RunFailed, tool
from outlast.contracts.agents import Resolved
from outlast.start_requests import request_json
from outlast.testing import ScriptedModel, answer, call

with workflow.unsafe.imports_passed_through():
    from outlast import run_agent
    from tests.stage import Stage, on_stage


@tool(effect="read")
def look(place: str) -> str:
    """Look at a place."""
    return f"{place} is quiet"


AGENT = Agent(name="scout", instructions="Look.", tools=[look], output=dict[str, bool])


@workflow.defn
class Expedition:
    """A workflow of somebody else."""

    @workflow.run
    async def run(self, task_queue: str, agent: str) -> dict[str, Any]:
        result = await run_agent(agent, {"place": "Mars"}, task_queue=task_queue)
        return {"status": result.status, "output": result.output}


@workflow.defn
class CarefulExpedition:
    """A workflow that expects an agent to fail."""

    @workflow.run
    async def run(self, task_queue: str) -> str:
        try:
            await run_agent("nobody", "x", task_queue=task_queue)
        except RunFailed as failed:
            return f"{failed.cause_type}: {failed.message}"
        return "no failure"


@workflow.defn
class ImpatientExpedition:
    """A workflow that must not go on once it is cancelled."""

    @workflow.run
    async def run(self, task_queue: str) -> str:
        await run_agent("scout", "x", task_queue=task_queue, id=f"slow-{task_queue}")
        return "went on"


@pytest_asyncio.fixture
async def stranger(temporal: TemporalClient) -> TemporalClient:
    """A client without our plugin."""
    return await TemporalClient.connect(temporal.service_client.config.target_host)


@pytest_asyncio.fixture
async def stage(temporal: TemporalClient) -> AsyncIterator[Stage]:
    model = ScriptedModel([call("look", place="Mars"), answer({"quiet": True})])
    async with on_stage(temporal, model, [AGENT]) as stage:
        yield stage


async def test_a_client_with_any_converter_starts_and_reads_runs(
    stage: Stage, stranger: TemporalClient
) -> None:
    client = Client(stranger)
    run = await client.start(AGENT, {"place": "Mars"}, task_queue=stage.task_queue)
    seen = [message async for message in run.stream()]
    assert [message.role for message in seen] == ["user", "assistant", "tool", "assistant"]
    assert seen[0].content == '{"place":"Mars"}'
    result = await run.result()
    assert result.output == {"quiet": True}
    assert (await client.get(run.id).result()) == result
    progress = await run.progress()
    assert (progress.status, progress.agent, progress.turn) == ("completed", "scout", 2)
    assert (await run.transcript(since=3))[0].role == "assistant"


async def test_an_agent_runs_as_a_child_of_somebody_elses_workflow(
    stage: Stage, stranger: TemporalClient
) -> None:
    async with Worker(stranger, task_queue="strangers", workflows=[Expedition]):
        result = await stranger.execute_workflow(
            Expedition.run,
            args=[stage.task_queue, "scout"],
            id=f"expedition-{stage.task_queue}",
            task_queue="strangers",
        )
    assert result == {"status": "completed", "output": {"quiet": True}}


async def test_a_child_that_fails_says_why_to_the_workflow_that_started_it(
    stage: Stage, stranger: TemporalClient
) -> None:
    async with Worker(stranger, task_queue="strangers", workflows=[CarefulExpedition]):
        reason = await stranger.execute_workflow(
            CarefulExpedition.run,
            stage.task_queue,
            id=f"careful-{stage.task_queue}",
            task_queue="strangers",
        )
    assert reason.startswith("BadRequest: agent: 'nobody' is not registered with this worker")


async def test_an_id_that_is_taken_is_refused_by_name(stage: Stage) -> None:
    await stage.start("scout", id=f"twice-{stage.task_queue}")
    with pytest.raises(BadRequest, match="exists already; choose another id, or use get"):
        await stage.client.start(
            "scout", "x", id=f"twice-{stage.task_queue}", task_queue=stage.task_queue
        )


async def test_a_run_has_a_static_summary_from_its_request(stage: Stage) -> None:
    run = await stage.start("scout", "look at Mars, and say whether it is quiet")
    described = await stage.client.temporal.get_workflow_handle(run.id).describe()
    assert await described.static_summary() == "scout: look at Mars, and say whether it is quiet"


async def test_a_tenant_becomes_the_fairness_key_of_every_step(stage: Stage) -> None:
    run = await stage.start("scout", tenant="acme", limits=Limits(max_turns=5))
    await run.result()
    (history,) = await stage.chain(run)
    keys = [
        event.activity_task_scheduled_event_attributes.priority.fairness_key
        for event in history.events
        if event.HasField("activity_task_scheduled_event_attributes")
    ]
    assert keys == ["acme"] * 3  # the lookup of the agent is local
    async with asyncio.timeout(20):
        while True:
            found = [
                w.id
                async for w in stage.client.temporal.list_workflows(
                    f"AgentTenant='acme' and WorkflowId='{run.id}'"
                )
            ]
            if found:
                break
            await asyncio.sleep(0.1)


async def test_a_cancelled_caller_of_an_agent_does_not_go_on(
    temporal: TemporalClient, stranger: TemporalClient
) -> None:
    async def slow(_: object) -> dict[str, Any]:
        await asyncio.sleep(60)
        return {}

    model = ScriptedModel([slow])
    async with (
        on_stage(temporal, model, [AGENT]) as stage,
        Worker(stranger, task_queue="strangers", workflows=[ImpatientExpedition]),
    ):
        handle = await stranger.start_workflow(
            ImpatientExpedition.run,
            stage.task_queue,
            id=f"impatient-{stage.task_queue}",
            task_queue="strangers",
        )
        async with asyncio.timeout(20):
            while not model.prompts:
                await asyncio.sleep(0.1)
        await handle.cancel()
        with pytest.raises(WorkflowFailureError) as failed:
            await handle.result()
    assert isinstance(failed.value.cause, CancelledError)


async def test_a_stream_of_a_run_that_does_not_exist_says_so(stage: Stage) -> None:
    with pytest.raises(BadRequest, match="there is no run 'nothing'"):
        async for _ in stage.client.get("nothing").stream():
            pass
    with pytest.raises(BadRequest, match="'nothing' has ended, or does not exist"):
        await stage.client.get("nothing").approve("1.1")


async def test_an_update_that_the_server_would_not_take_is_not_sent(
    temporal: TemporalClient,
) -> None:
    run = Client(temporal).get("nobody")
    large = "x" * 3_000_000
    for sent in (run.say(large), run.pause(reason=large)):
        with pytest.raises(BadRequest, match="bytes are too many; 1,000,000 are allowed"):
            await sent


def test_a_limit_that_nobody_set_is_not_sent_to_workers_that_may_not_know_it() -> None:
    limits = Limits(max_turns=3)
    assert limits.model_dump(mode="json") == {"max_turns": 3}
    assert request_json(agent="desk", input="go", limits=limits)["limits"] == {"max_turns": 3}
    assert Resolved(route=Route(legs=(Leg(task_queue="q"),)), limits=limits).model_dump(
        mode="json"
    )["limits"] == {"max_turns": 3}


def test_a_task_without_input_is_refused_before_it_starts() -> None:
    with pytest.raises(BadRequest, match="input: is required, except in a conversation"):
        request_json(agent="desk", input=None)

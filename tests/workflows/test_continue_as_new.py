"""Runs that outgrow a history: continue-as-new in mid-run, and a history that grows linearly."""

import pytest
from outlast_activities.run_queries import WorkflowQueries
from temporalio.client import Client

from outlast import Agent, tool
from outlast.contracts.messages import Message
from outlast.testing import ScriptedModel, answer, call
from tests.stage import on_stage, staged_settings


@tool(effect="read")
def read(n: int) -> str:
    """Read a page."""
    return f"{n}:" + "x" * 5_000


reader = Agent(name="reader", instructions="Read. " * 300, tools=[read])


async def test_a_run_continues_as_new_and_ends_as_if_it_had_not(
    impatient: Client, cached: int
) -> None:
    script = [call("read", n=n) for n in range(29)]
    model = ScriptedModel([*script, answer("read it all")])
    async with on_stage(
        impatient, model, [reader], cached=cached, has_search_attributes=False
    ) as stage:
        run = await stage.start("reader", limits={"max_turns": 40})
        result = await run.result()
        assert (result.output, result.turns, result.tool_calls) == ("read it all", 30, 29)
        assert len(await stage.chain(run)) >= 3
    prompt = model.prompts[-1].messages
    assert sum(message["content"].count('"tool":"read","result"') for message in prompt) == 29


async def test_history_holds_instructions_once_and_each_result_once(temporal: Client) -> None:
    script = [call("read", n=n) for n in range(10)]
    model = ScriptedModel([*script, answer("done")])
    async with on_stage(temporal, model, [reader]) as stage:
        await stage.run("reader")
        history = "".join(str(event) for event in (await stage.last()).events)
    assert history.count("Read. " * 300) == 1
    assert history.count("x" * 5_000) == 10


async def test_a_worker_without_memory_asks_the_run_for_its_transcript(
    temporal: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts: list[int] = []
    messages = WorkflowQueries.messages

    async def counted(
        queries: WorkflowQueries, workflow_id: str, run_id: str, since: int
    ) -> list[Message]:
        starts.append(since)
        return await messages(queries, workflow_id, run_id, since)

    monkeypatch.setattr(WorkflowQueries, "messages", counted)
    script = [call("read", n=n) for n in range(5)]
    model = ScriptedModel([*script, answer("done")])
    settings = staged_settings(cached=1000).model_copy(update={"transcript_cache_bytes": 0})
    async with on_stage(temporal, model, [reader], settings=settings) as stage:
        result = await stage.run("reader")
    assert result.turns == 6
    assert starts == [0] * 5  # the first turn got the whole transcript
    assert sum(m["content"].count('"result"') for m in model.prompts[-1].messages[1:]) == 5

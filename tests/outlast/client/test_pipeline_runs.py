"""What the methods of `Run` do with the id of a pipeline, and with a workflow of somebody else."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from temporalio.client import Client as TemporalClient

from outlast import BadRequest
from outlast.client.runs import Run
from outlast.pipelines.requests import parse_pipeline_request
from outlast.testing import ScriptedModel
from tests.stage import Stage, on_stage, pending
from tests.workflows.pipelines.staging import document, start

ASK = document({"ask": {"call": "ask", "with": {"question": "Go on?", "audience": "crew"}}})

NOT_OF_PIPELINES: dict[str, Callable[[Run], Awaitable[Any]]] = {
    "transcript": lambda run: run.transcript(),
    "say": lambda run: run.say("hello"),
    "pause": lambda run: run.pause(),
    "resume": lambda run: run.resume(),
    "finish": lambda run: run.finish(),
    "reply": lambda run: run.reply(),
}


async def test_a_pipeline_is_read_and_streamed_like_a_run(temporal: TemporalClient) -> None:
    async with on_stage(temporal, ScriptedModel([])) as stage:
        run = await start(stage, ASK)
        request_id = await pending(run)
        progress = await run.progress()
        assert (progress.agent, progress.status) == ("sample", "waiting_for_human")
        assert (progress.doing, progress.turn, progress.tool_calls) == ("runs /do/0/ask", 0, 0)
        async with asyncio.timeout(30):
            entries = []
            async for entry in run.stream():
                entries.append(entry)
                await run.answer(request_id, "yes")
        assert [entry.role for entry in entries] == ["waiting"]
        assert str(entries[0].content).startswith('crew must answer "Go on?": outlast answer')
        assert (await run.result()).output == "yes"
        assert [entry async for entry in run.stream()] == []


async def test_what_only_agents_take_is_rejected_in_one_line(temporal: TemporalClient) -> None:
    async with on_stage(temporal, ScriptedModel([])) as stage:
        run = await start(stage, ASK)
        request_id = await pending(run)
        for name, command in NOT_OF_PIPELINES.items():
            known = "pending_requests, progress" if name == "transcript" else "decide"
            reason = f"is not an agent, and does not take '{name}'; it takes {known}"
            with pytest.raises(BadRequest) as caught:
                await command(run)
            assert str(caught.value) == f"{name}: the run {run.id!r} {reason}"
        with pytest.raises(BadRequest, match="chat: the run is not an agent"):
            await _chat(stage, run.id)
        await run.answer(request_id, "yes")


async def _chat(stage: Stage, run_id: str) -> None:
    await stage.client.chat(run_id, "hello", agent="scout", task_queue=stage.task_queue)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (ASK, 'this is a document itself; give {"pipeline": DOCUMENT, "input": INPUT}'),
        ({"pipeline": "do: []"}, "pipeline: 'do: []' is not a document; give the document itself"),
        ({"pipeline": None}, "pipeline: None is not a document"),
        ({"agent": "scout", "input": 1}, "a request for an agent; start it with the type Agent"),
        ({"input": 1}, "pipeline: is required"),
        ("do: []", "'do: []' is not a JSON object; its fields are 'pipeline', 'input', 'tenant'"),
    ],
)
def test_an_input_that_is_something_else_is_rejected_with_what_to_send(
    given: Any, reason: str
) -> None:
    with pytest.raises(BadRequest) as caught:
        parse_pipeline_request(json.dumps(given).encode())
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)

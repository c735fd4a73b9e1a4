"""Records histories that later versions must replay: `python -m tests.histories.record 0.1.0`."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path

from outlast_workers.connection import ensure_search_attributes
from pydantic import JsonValue
from temporalio.testing import WorkflowEnvironment

from outlast import Agent, Approval, ask_human, handoff, hedge, map_over, tool
from outlast.client.runs import Run
from outlast.temporal.plugin import OutlastPlugin
from outlast.testing import ScriptedModel, answer, call, calls
from tests.conftest import DEV_SERVER_OPTIONS, binary
from tests.stage import Stage, on_stage

FOLDER = Path(__file__).parent


@tool(effect="read")
def look(place: str) -> str:
    """Look at a place."""
    return f"{place} is quiet"


@tool(effect="irreversible", approval=Approval(audience="leads"))
def leave(place: str) -> str:
    """Leave a place."""
    return f"left {place}"


@tool(effect="idempotent")
def lower_flag(place: str, result: str) -> str:
    """Lower a flag."""
    return f"lowered the {result} on {place}"


@tool(effect="write", compensate=lower_flag)
def raise_flag(place: str) -> str:
    """Raise a flag."""
    return "flag"


ask_crew = ask_human(str, name="ask_crew", audience="crew")

scout = Agent(name="scout", instructions="Look around.", tools=[look, leave], begin_with=["look"])
lead = Agent(name="lead", instructions="Lead.", tools=[scout, look])
captain = Agent(name="captain", instructions="Command.", tools=[look, raise_flag, ask_crew])


admiral = Agent(
    name="admiral",
    instructions="Decide.",
    tools=[
        hedge(captain, scout, delay=timedelta(seconds=1)),
        map_over(scout, concurrency=1),
        handoff(captain),
    ],
)


async def _tools(stage: Stage) -> Run:
    return await stage.start("scout", "go", limits={"deadline_s": 600})


async def _approval(stage: Stage) -> Run:
    run = await stage.start("scout", "go", limits={"deadline_s": 600})
    await _pending(run)
    await run.approve("2.1", by="ann")
    return run


async def _child(stage: Stage) -> Run:
    return await stage.start("lead", "go", limits={"deadline_s": 600})


async def _patterns(stage: Stage) -> Run:
    """Hedge an agent that waits for a person, map another one, and hand over."""
    return await stage.start("admiral", "go", limits={"deadline_s": 600})


async def _compensation(stage: Stage) -> Run:
    """Raise a flag, ask the crew, and be cancelled meanwhile: the flag is lowered again."""
    run = await stage.start("captain", "go", limits={"max_tokens": 100_000})
    await _pending(run)
    await run.cancel()
    return run


async def _question(stage: Stage) -> Run:
    """Pause, resume and send a message by signal, and answer a question."""
    run = await stage.start("captain", "go")
    handle = stage.client.temporal.get_workflow_handle(run.id)
    for name, payload in (("pause", {"by": "ann"}), ("resume", {}), ("say", {"text": "hurry"})):
        await handle.signal(name, payload)
    await _pending(run)
    await handle.signal("decide", {"request_id": "none", "decision": "approve"})
    await run.answer("1.1", "north", by="bo")
    return run


async def _conversation(stage: Stage) -> Run:
    """Begin with a message, as one update with the start, and end after a second one."""
    await stage.client.chat("chat", "hello", agent="captain", task_queue=stage.task_queue)
    await stage.client.chat("chat", "again", agent="captain", task_queue=stage.task_queue)
    run = stage.started("chat")
    await run.finish()
    return run


async def _pipeline(stage: Stage) -> Run:
    """Fork, map, retry, ask, wait for an event, and call an agent."""
    look_task = {"call": "tool", "with": {"tool": "look", "arguments": {"place": "${ $n }"}}}
    flag_task = {"call": "tool", "with": {"tool": "raise_flag", "arguments": {"place": "Mars"}}}
    document = {
        "document": {"dsl": "1.0.3", "namespace": "test", "name": "tour", "version": "1.0.0"},
        "timeout": {"after": {"minutes": 10}},
        "do": [
            {
                "each": {
                    "for": {"in": '["Mars", "Moon"]', "each": "n"},
                    "do": [{"look": look_task}],
                    "metadata": {"outlast": {"concurrency": 2, "on_error": "collect"}},
                }
            },
            {
                "both": {
                    "fork": {
                        "branches": [
                            {"flag": flag_task},
                            {"pause": {"wait": {"milliseconds": 50}}},
                        ]
                    }
                }
            },
            {"ask": {"call": "ask", "with": {"question": "Where to?", "audience": "crew"}}},
            {"hear": {"listen": {"to": {"one": {"with": {"type": "go"}}}}}},
            {"last": {"call": "agent", "with": {"agent": "scout", "input": "${ .[0] }"}}},
        ],
    }
    handle = await stage.client.temporal.start_workflow(
        "PipelineWorkflow", {"pipeline": document}, id="tour", task_queue=stage.task_queue
    )
    run = stage.started(handle.id)
    await _pending(run)
    await handle.signal("event", {"type": "go", "data": "Moon"})
    request = (await run.pending_requests())[0]
    await run.answer(request.request_id, "north", by="bo")
    return run


async def _pending(run: Run) -> None:
    async with asyncio.timeout(30):
        while not await run.pending_requests():
            await asyncio.sleep(0.1)


SCENARIOS: dict[str, tuple[Callable[[Stage], Awaitable[Run]], list[dict[str, JsonValue]]]] = {
    "tools": (_tools, [call("look", place="Mars"), answer("quiet")]),
    "approval": (
        _approval,
        [call("look", place="Mars"), call("leave", place="Mars"), answer("left")],
    ),
    "child": (
        _child,
        [
            calls(call("scout", input="Mars"), call("look", place="Moon")),
            call("look", place="Mars"),
            answer("quiet"),
            answer("all quiet"),
        ],
    ),
    "patterns": (
        _patterns,
        [
            call("hedge_captain_scout", input="Mars"),
            call("ask_crew", question="Where to?"),
            *(call("look", place="Mars"), answer("quiet")),
            call("map_scout", inputs=["Moon"]),
            *(call("look", place="Moon"), answer("quiet")),
            call("handoff_captain", reason="it is late"),
            answer("all quiet"),
        ],
    ),
    "compensation": (
        _compensation,
        [call("raise_flag", place="Mars"), call("ask_crew", question="Where to?")],
    ),
    "question": (
        _question,
        [call("ask_crew", question="Where to?"), answer("north")],
    ),
    "conversation": (_conversation, [answer("hi"), answer("hi again")]),
    "pipeline": (_pipeline, [call("look", place="Moon"), answer("quiet")]),
}


async def record(version: str) -> None:
    """Run each scenario on a server of its own and keep the history of its first run."""
    folder = FOLDER / version
    folder.mkdir()
    async with await WorkflowEnvironment.start_local(
        plugins=[OutlastPlugin()],
        dev_server_existing_path=binary("temporal"),
        dev_server_extra_args=DEV_SERVER_OPTIONS,
    ) as environment:
        await ensure_search_attributes(environment.client)
        for name, (scenario, script) in SCENARIOS.items():
            model = ScriptedModel(script)
            async with on_stage(environment.client, model, [lead, captain, admiral]) as stage:
                run = await scenario(stage)
                await run.result()
                (history,) = await stage.chain(run)
                (folder / f"{name}.json").write_text(history.to_json())


if __name__ == "__main__":
    asyncio.run(record(sys.argv[1]))

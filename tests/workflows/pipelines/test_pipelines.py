"""Pipelines: agents, tools and people as tasks; each run is replayed with and without a cache."""

import asyncio
from typing import Any

from temporalio.client import Client

from outlast import Agent, Approval, ToolError, tool
from outlast.testing import ScriptedModel, answer, call
from tests.stage import on_stage, pending
from tests.workflows.pipelines.staging import (
    child_of,
    document,
    failure_of,
    failure_of_run,
    output_of,
    result_of,
    start,
    tool_task,
)

NO_MODEL = ScriptedModel([])


@tool(effect="read")
def double(number: int) -> int:
    """Double a number."""
    if number < 0:
        raise ToolError("a negative number")
    return 2 * number


@tool(effect="write", approval=Approval(audience="finance"))
def pay(amount: int) -> str:
    """Pay an amount."""
    return f"paid {amount}"


writer = Agent(name="writer", instructions="Write.", output=str)


DOUBLE = tool_task("double", number="${ .n }")


async def test_agents_tools_and_data_flow(temporal: Client, cached: int) -> None:
    model = ScriptedModel([answer("a text")])
    pipeline = document(
        {"twice": {**DOUBLE, "export": {"as": "${ {twice: .} }"}}},
        {
            "write": {
                "call": "agent",
                "with": {"agent": "writer", "input": '${ "Write \\(.) words" }'},
            }
        },
        {"all": {"set": {"text": "${ . }", "twice": "${ $context.twice }"}}},
    )
    async with on_stage(temporal, model, [writer], tools=[double], cached=cached) as stage:
        run = await start(stage, pipeline, {"n": 21})
        result = await result_of(stage, run)
        assert result["output"] == {"text": "a text", "twice": 42}
        assert (result["status"], result["tasks"]) == ("completed", 3)
        assert (result["agent_runs"], result["tool_calls"]) == (1, 1)
        assert result["usage"]["prompt_tokens"] > 0
        assert await stage.activities() == ["double"]
    assert "Write 42 words" in model.prompts[0].messages[-1]["content"]


async def test_people_answer_and_approve(temporal: Client, cached: int) -> None:
    pipeline = document(
        {
            "ask": {
                "call": "ask",
                "with": {
                    "question": "How much?",
                    "audience": "sales",
                    "answer": {"type": "integer"},
                },
            }
        },
        {"pay": tool_task("pay", amount="${ . }")},
    )
    async with on_stage(temporal, NO_MODEL, tools=[pay], cached=cached) as stage:
        run = await start(stage, pipeline)
        request = await pending(run)
        assert (request.question, request.audience) == ("How much?", "sales")
        await run.answer(request.request_id, 30, by="ann")
        approval = await pending(run)
        assert approval.arguments == {"amount": 30}
        await run.approve(approval.request_id, by="bob")
        result = await result_of(stage, run)
    assert result["output"] == "paid 30"
    assert [each["outcome"] for each in result["decisions"]] == ["answered", "approved"]


async def test_a_task_of_several_items_runs_until_the_last_item_ends(
    temporal: Client, cached: int
) -> None:
    ask = {"call": "ask", "with": {"question": "${ $n }", "audience": "sales"}}
    pipeline = document(
        {
            "each": {
                "for": {"each": "n", "in": "${ . }"},
                "metadata": {"outlast": {"concurrency": 2}},
                "do": [{"ask": ask}],
            }
        }
    )
    async with on_stage(temporal, NO_MODEL, cached=cached) as stage:
        run = await start(stage, pipeline, ["first", "second"])
        await pending(run)
        while len(requests := await run.pending_requests()) < 2:
            await asyncio.sleep(0.05)
        ids = {request.question: request.request_id for request in requests}
        await run.answer(ids["first"], "1", by="ann")
        progress = await stage.client.temporal.get_workflow_handle(run.id).query("progress")
        places = [task["place"] for task in progress["running"]]
        assert places == ["/do/0/each", "/do/0/each/do/0/ask"]
        await run.answer(ids["second"], "2", by="ann")
        result = await result_of(stage, run)
    assert result["output"]["outputs"] == ["1", "2"]


async def test_errors_are_caught_retried_and_named(temporal: Client, cached: int) -> None:
    caught = document(
        {
            "safe": {
                "try": [{"twice": tool_task("double", number=-1)}],
                "catch": {"as": "e", "do": [{"note": {"set": {"error": "${ $e }"}}}]},
            }
        }
    )
    async with on_stage(temporal, NO_MODEL, tools=[double], cached=cached) as stage:
        error = (await output_of(stage, caught))["error"]
        assert error["instance"] == "/do/0/safe/try/0/twice"
        assert error["detail"] == "a negative number"
        failure = await failure_of(stage, document({"twice": tool_task("double", number=-1)}))
    assert failure.type == "PipelineFailed"
    assert failure.message.startswith("/do/0/twice: tool double failed: a negative number")
    assert failure.details[0]["status"] == 500


async def test_a_fork_joins_and_the_first_of_a_race_wins(temporal: Client, cached: int) -> None:
    both = {"branches": [{"a": DOUBLE}, {"b": {"set": {"x": 1}}}]}
    race = {
        "compete": True,
        "branches": [
            {"slow": {"wait": {"hours": 1}}},
            {"bad": tool_task("double", number=-1)},
            {"fast": DOUBLE},
        ],
    }
    async with on_stage(temporal, NO_MODEL, tools=[double], cached=cached) as stage:
        assert await output_of(stage, document({"f": {"fork": both}}), {"n": 4}) == [8, {"x": 1}]
        assert await output_of(stage, document({"f": {"fork": race}}), {"n": 4}) == 8


async def test_a_map_collects_failures_and_keeps_its_concurrency(
    temporal: Client, cached: int
) -> None:
    def loop(**options: Any) -> dict[str, Any]:
        return document(
            {
                "each": {
                    "for": {"each": "n", "in": "."},
                    "do": [{"twice": tool_task("double", number="${ $n }")}],
                    "metadata": {"outlast": {"concurrency": 3, **options}},
                }
            }
        )

    async with on_stage(temporal, NO_MODEL, tools=[double], cached=cached) as stage:
        result = await output_of(stage, loop(on_error="collect"), [1, -1, 3, -2, 5])
        assert result["outputs"] == [2, None, 6, None, 10]
        assert [each["index"] for each in result["errors"]] == [1, 3]
        assert (result["completed"], result["failed"], result["skipped"]) == (3, 2, 0)
        stopped = await output_of(
            stage, loop(on_error="stop_after", failures=1, concurrency=1), [1, -1, 3]
        )
        assert (stopped["failed"], stopped["skipped"]) == (1, 1)
        failure = await failure_of(stage, loop(), [1, -1])
        assert failure.details[0]["instance"] == "/do/0/each/do/0/twice"


async def test_a_pipeline_waits_for_events_and_timers(temporal: Client, cached: int) -> None:
    pipeline = document(
        {"pause": {"wait": {"milliseconds": 10}}},
        {"both": {"listen": {"to": {"all": [{"with": {"type": "a"}}, {"with": {"type": "b"}}]}}}},
        {
            "late": {
                "listen": {"to": {"one": {"with": {"type": "c"}}}},
                "timeout": {"after": "PT1S"},
            }
        },
    )
    async with on_stage(temporal, NO_MODEL, cached=cached) as stage:
        run = await start(stage, pipeline)
        handle = stage.client.temporal.get_workflow_handle(run.id)
        for event in ({"type": "b", "data": 2}, {"type": "x"}, {"no": 1}, {"type": "a", "data": 1}):
            await handle.signal("event", event)
        error = (await failure_of_run(stage, run)).details[0]
    assert error["type"].endswith("/timeout")
    assert error["instance"] == "/do/2/late"


async def test_the_usage_of_a_failed_agent_counts(temporal: Client) -> None:
    task = {"call": "agent", "with": {"agent": "writer", "input": "go"}}
    caught = {"try": [{"run": task}], "catch": {"as": "error", "do": [{"note": {"set": {"a": 1}}}]}}
    model = ScriptedModel(["nonsense"], repeat_last=True)
    async with on_stage(temporal, model, [writer]) as stage:
        result = await result_of(stage, await start(stage, document({"attempt": caught})))
    assert result["output"] == {"a": 1}
    assert result["usage"]["completion_tokens"] == 2 * len(model.prompts)


async def test_a_cancelled_pipeline_ends_its_agents(temporal: Client) -> None:
    agent = Agent(name="asker", instructions="Ask.", tools=[pay], output=str)
    pipeline = document({"run": {"call": "agent", "with": {"agent": "asker", "input": "go"}}})
    async with on_stage(temporal, ScriptedModel([call("pay", amount=1)]), [agent]) as stage:
        run = await start(stage, pipeline)
        handle = stage.client.temporal.get_workflow_handle(run.id)
        child = await child_of(stage, run)
        await pending(stage.client.get(child))
        await handle.cancel()
        result = await result_of(stage, run)
        assert (result["status"], result["stop_reason"]) == ("stopped", "cancelled")
        described = await stage.client.temporal.get_workflow_handle(child).describe()
        assert described.status is not None
        assert described.status.name != "RUNNING"


async def test_bad_requests_are_rejected_before_anything_starts(temporal: Client) -> None:
    unknown = document({"x": {"call": "tool", "with": {"tool": "dubble", "arguments": {}}}})
    agent = document({"x": {"call": "agent", "with": {"agent": "writr", "input": 1}}})
    async with on_stage(temporal, NO_MODEL, [writer], tools=[double]) as stage:
        for pipeline, reason in (
            (unknown, "did you mean 'double'"),
            (agent, "did you mean 'writer'"),
            (document({"x": {"sett": 1}}), "/do/0/x: has no kind"),
            ("text", "pipeline"),
        ):
            failure = await failure_of(stage, pipeline)
            assert failure.type == "BadRequest"
            assert reason in failure.message


async def test_an_unknown_name_is_rejected_with_its_place(temporal: Client) -> None:
    tool_call = document({"first": {"do": [{"twice": tool_task("duble", number=1)}]}})
    agent = document({"write": {"call": "agent", "with": {"agent": "riter", "input": "Go."}}})
    version = {"namespace": "agents", "name": "riter", "version": "1", "input": "Go."}
    workflow = document({"write": {"run": {"workflow": version}}})
    async with on_stage(temporal, NO_MODEL, [writer], tools=[double]) as stage:
        for pipeline, reason in (
            (tool_call, "/do/0/first/do/0/twice/with/tool: 'duble' is not registered"),
            (agent, "/do/0/write/with/agent: 'riter' is not registered"),
            (workflow, "/do/0/write/run/workflow/name: 'riter' is not registered"),
        ):
            message = (await failure_of(stage, pipeline)).message
            assert message.startswith(reason)
            assert "did you mean" in message

"""Tools that go wrong: each outcome reaches the model, or ends the run with its cause."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from outlast_activities.policies.attempts import TOOL_ATTEMPTS
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import PendingActivityState
from temporalio.api.workflowservice.v1 import PauseActivityRequest, UnpauseActivityRequest
from temporalio.client import Client

from outlast import Agent, RunFailed, ToolError, ToolSpec, tool
from outlast.client.runs import Run
from outlast.testing import ScriptedModel, answer, call
from tests.stage import Flag, on_stage, pending, staged_settings


async def result_of(temporal: Client, made: Any, cached: int, **arguments: Any) -> str:
    """Run one call of a tool and return what the model read about it."""
    agent = Agent(name="caller", instructions="Call.", tools=[made])
    model = ScriptedModel([call(made.name, **arguments), answer("done")])
    async with on_stage(temporal, model, [agent], cached=cached) as stage:
        result = await stage.run("caller")
    assert result.output == "done"
    return model.prompts[1].messages[-1]["content"]


async def ending(temporal: Client, made: Any, cached: int, **arguments: Any) -> str:
    """Run one call of a tool that ends the run and return the cause."""
    agent = Agent(name="caller", instructions="Call.", tools=[made])
    model = ScriptedModel([call(made.name, **arguments)])
    async with on_stage(temporal, model, [agent], cached=cached) as stage:
        with pytest.raises(RunFailed) as failed:
            await stage.run("caller")
    return failed.value.message


async def test_a_tool_error_is_told_to_the_model(temporal: Client, cached: int) -> None:
    @tool(effect="write")
    def refuse() -> str:
        """Refuse."""
        raise ToolError("order 7 is closed")

    content = await result_of(temporal, refuse, cached)
    assert content == '{"tool":"refuse","result":{"error":"order 7 is closed"}}'


async def test_arguments_that_the_type_hints_refuse_are_told_to_the_model(temporal: Client) -> None:
    @tool(effect="read")
    def even(n: int) -> int:
        """Return n."""
        return n

    agent = Agent(
        name="caller",
        instructions="Call.",
        tools=[even.spec.model_copy(update={"parameters": {"type": "object"}})],
    )
    wrong: Any = {"tool_calls": [{"tool": "even", "arguments": {"m": "x"}}]}
    model = ScriptedModel([wrong, answer("done")])
    async with on_stage(temporal, model, [agent], tools=[even]) as stage:
        await stage.run("caller")
    assert "n: is required; m: unknown field" in model.prompts[1].messages[-1]["content"]


async def test_a_read_that_is_too_slow_is_told_to_the_model(
    temporal: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TOOL_ATTEMPTS, "read", 2)  # the usual four take seven seconds

    @tool(effect="read", timeout=timedelta(milliseconds=200))
    async def hang() -> str:
        """Hang."""
        await asyncio.sleep(60)
        return ""

    content = await result_of(temporal, hang, 1000)
    assert "hang: an attempt took too long (at most 0.2 s)" in content


async def test_a_bug_in_a_write_ends_the_run_with_its_cause(temporal: Client, cached: int) -> None:
    @tool(effect="write")
    def broken() -> str:
        """Break."""
        raise KeyError("missing")

    cause = await ending(temporal, broken, cached)
    assert cause == "broken (call 1.1): KeyError: 'missing'"


async def test_a_result_of_5_mb_is_told_to_the_model(temporal: Client, cached: int) -> None:
    @tool(effect="read")
    def everything() -> str:
        """Return too much."""
        return "x" * 5_000_000

    content = await result_of(temporal, everything, cached)
    assert "everything returned 5,000,002 bytes; at most 256,000 are allowed" in content


async def test_a_result_that_the_type_forbids_ends_the_run(temporal: Client, cached: int) -> None:
    @tool(effect="read")
    def count() -> int:
        """Count."""
        return "many"  # type: ignore[return-value]  # the bug under test

    cause = await ending(temporal, count, cached)
    assert cause == (
        "count (call 1.1): the result does not match its type: input should be a valid integer, "
        "unable to parse string as an integer"
    )


async def test_a_read_that_fails_once_is_tried_again(temporal: Client) -> None:
    attempts = []

    @tool(effect="read")
    def flaky() -> str:
        """Fail once."""
        attempts.append(1)
        if len(attempts) == 1:
            raise ConnectionError("reset")
        return "fine"

    assert '"result":"fine"' in await result_of(temporal, flaky, 1000)


async def test_a_tool_may_live_in_any_worker(temporal: Client) -> None:
    """The agent names the tool and its schema; nothing of it is imported."""

    @tool(effect="read")
    def elsewhere(n: int) -> int:
        """Double."""
        return 2 * n

    named = ToolSpec(name="elsewhere", parameters=elsewhere.spec.parameters)
    agent = Agent(name="caller", instructions="Call.", tools=[named])
    model = ScriptedModel([call("elsewhere", n=21), answer("done")])
    async with on_stage(temporal, model, [agent], tools=[elsewhere]) as stage:
        await stage.run("caller")
    assert model.prompts[1].messages[-1]["content"] == '{"tool":"elsewhere","result":42}'


async def test_a_cause_too_long_to_record_is_cut_and_still_told(temporal: Client) -> None:
    @tool(effect="write")
    def verbose() -> str:
        """Fail at length."""
        raise RuntimeError("€" * 2_000_000)

    cause = await ending(temporal, verbose, 1000)
    assert cause.startswith("verbose (call 1.1): RuntimeError: €€€")
    assert len(cause) < 1_100


async def test_a_call_that_no_worker_knows_waits_for_one_that_does(
    temporal: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker of other agents was started meanwhile: an irreversible call is not lost by it."""
    monkeypatch.setattr(
        "outlast_workflows.calls.tool_activities.UNREGISTERED_WAIT", timedelta(seconds=1)
    )
    done = []

    @tool(effect="irreversible", approval=False)
    def pay() -> str:
        """Pay."""
        done.append(1)
        return "paid"

    named = Agent(name="caller", instructions="Call.", tools=[pay.spec])
    settings = staged_settings(cached=1000)
    model = ScriptedModel([call("pay"), answer("done")])

    @tool(effect="read")
    def other() -> str:
        """Be something else."""
        return ""

    async with on_stage(temporal, model, [named], tools=[other], settings=settings) as stage:
        run = await stage.start("caller")
        async with asyncio.timeout(30):
            while "waits for a worker" not in await doing(run):
                await asyncio.sleep(0.1)
    async with on_stage(temporal, model, [named], tools=[pay], settings=settings):
        assert (await run.result()).output == "done"
    assert done == [1]


async def doing(run: Run) -> str:
    try:
        return (await run.progress()).doing
    except Exception:  # noqa: BLE001 the run has not begun
        return ""


async def test_a_paused_write_is_asked_about_and_not_told_as_a_failure(temporal: Client) -> None:
    made: list[str] = []
    begun = Flag()

    @tool(effect="write")
    async def transfer(account: str) -> str:
        """Move money."""
        made.append(account)
        begun.set()
        await asyncio.sleep(600)
        return "moved"

    model = ScriptedModel([call("transfer", account="a"), answer("Done.")])
    agent = Agent("bank", "Help.", [transfer])
    async with on_stage(temporal, model, [agent]) as stage:
        run = await stage.start(agent)
        await begun.wait()
        execution = WorkflowExecution(workflow_id=run.id)
        service = temporal.workflow_service
        await service.pause_activity(
            PauseActivityRequest(namespace=temporal.namespace, execution=execution, id="1.1")
        )
        async with asyncio.timeout(60):
            while not await is_paused(temporal, run.id):
                await asyncio.sleep(0.1)
        await service.unpause_activity(
            UnpauseActivityRequest(namespace=temporal.namespace, execution=execution, id="1.1")
        )
        request = await pending(run)
        assert request.question is not None
        assert "did this call happen? transfer(account=a)" in request.question
        await run.answer(request, "it happened")
        await run.result()
    assert made == ["a"]
    assert '"happened":true' in str(model.prompts[-1].messages[-1]["content"])


async def is_paused(temporal: Client, run_id: str) -> bool:
    """Tell whether the attempt of the only activity has ended, and the next one is held back."""
    described = await temporal.get_workflow_handle(run_id).describe()
    (activity,) = described.raw_description.pending_activities
    return activity.state == PendingActivityState.PENDING_ACTIVITY_STATE_PAUSED

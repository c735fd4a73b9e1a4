"""The turn loop: decisions, tools, narrowing and limits, each run replayed with and without a cache."""

import asyncio
import json
from decimal import Decimal
from typing import Any, Literal

import pytest
from pydantic import BaseModel
from temporalio.client import Client

from outlast import Agent, Limits, RunFailed, ToolError, tool
from outlast.contracts.agents import Leg, Price
from outlast.testing import ScriptedModel, answer, call, calls
from tests.stage import on_stage, staged_settings


class Verdict(BaseModel):
    risk: Literal["low", "high"]


@tool(effect="read")
async def read_metadata(package: str) -> dict[str, str]:
    """Read a package's metadata."""
    if package == "missing":
        raise ToolError("no package 'missing' is installed")
    return {"name": package, "licence": "MIT"}


@tool(effect="read", max_calls=1)
def scan(package: str) -> str:
    """Scan a package."""
    return f"{package} is clean"


reviewer = Agent(
    name="reviewer", instructions="Review.", tools=[read_metadata, scan], output=Verdict
)
LOW = answer({"risk": "low"})


async def test_a_run_calls_its_tools_and_ends_with_a_typed_answer(
    temporal: Client, cached: int
) -> None:
    model = ScriptedModel([call("read_metadata", package="pydantic"), LOW])
    async with on_stage(temporal, model, [reviewer], cached=cached) as stage:
        result = await stage.run("reviewer", "pydantic")
        assert result.status == "completed"
        assert result.output == {"risk": "low"}
        assert (result.turns, result.tool_calls) == (2, 1)
        assert result.usage.prompt_tokens > 0
        assert await stage.activities() == [
            "generate",
            "read_metadata",
            "generate",
        ]
    assert '"licence":"MIT"' in model.prompts[1].messages[-1]["content"]


async def test_calls_of_one_decision_run_side_by_side(temporal: Client, cached: int) -> None:
    together = asyncio.Barrier(2)

    @tool(effect="read")
    async def meet(who: str) -> str:
        """Wait for the other."""
        async with asyncio.timeout(30):
            await together.wait()
        return who

    agent = Agent(name="pair", instructions="Meet.", tools=[meet])
    model = ScriptedModel([calls(call("meet", who="a"), call("meet", who="b")), answer("met")])
    async with on_stage(temporal, model, [agent], cached=cached) as stage:
        result = await stage.run("pair")
    assert (result.output, result.tool_calls) == ("met", 2)


async def test_a_model_that_always_wants_a_tool_ends_at_its_last_turn(
    temporal: Client, cached: int
) -> None:
    def greedy(prompt: object) -> dict[str, Any]:
        schema = getattr(prompt, "schema")  # noqa: B009
        return LOW if "anyOf" not in schema else call("read_metadata", package="x")

    model = ScriptedModel([greedy], repeat_last=True)
    async with on_stage(temporal, model, [reviewer], cached=cached) as stage:
        result = await stage.run("reviewer", limits=Limits(max_turns=4))
    assert (result.status, result.turns, result.tool_calls) == ("completed", 4, 3)
    assert list(model.prompts[-1].schema["properties"]) == ["answer"]


async def test_a_tool_whose_calls_are_spent_leaves_the_schema(temporal: Client) -> None:
    model = ScriptedModel([call("scan", package="a"), call("read_metadata", package="a"), LOW])
    async with on_stage(temporal, model, [reviewer]) as stage:
        await stage.run("reviewer")
    assert '"scan"' in str(model.prompts[0].schema).replace("'", '"')
    assert '"scan"' not in str(model.prompts[1].schema).replace("'", '"')


async def test_calls_beyond_a_budget_in_one_decision_are_not_made(
    temporal: Client, cached: int
) -> None:
    model = ScriptedModel([calls(call("scan", package="a"), call("scan", package="b")), LOW])
    async with on_stage(temporal, model, [reviewer], cached=cached) as stage:
        result = await stage.run("reviewer")
        assert (await stage.activities()).count("scan") == 1
    assert result.tool_calls == 1
    assert "may be called 1 times" in model.prompts[1].messages[-1]["content"]


async def test_an_invalid_answer_is_asked_for_again_with_the_reason(temporal: Client) -> None:
    model = ScriptedModel([answer({"risk": "medium"}), "not json", LOW])
    async with on_stage(temporal, model, [reviewer]) as stage:
        result = await stage.run("reviewer")
    assert (result.output, result.turns) == ({"risk": "low"}, 1)
    assert "medium" in model.prompts[1].messages[-1]["content"]
    assert "not JSON" in model.prompts[2].messages[-1]["content"]


async def test_a_model_that_is_never_valid_fails_the_run_with_the_reason(
    temporal: Client, cached: int
) -> None:
    model = ScriptedModel(["nonsense"], repeat_last=True)
    async with on_stage(temporal, model, [reviewer], cached=cached) as stage:
        with pytest.raises(RunFailed, match=r"turn 1: no valid decision in 3 answers.*not JSON"):
            await stage.run("reviewer")


async def test_tokens_bound_a_run(temporal: Client, cached: int) -> None:
    model = ScriptedModel([call("read_metadata", package="x")], repeat_last=True)
    async with on_stage(temporal, model, [reviewer], cached=cached) as stage:
        result = await stage.run("reviewer", limits=Limits(max_tokens=600))
    assert (result.status, result.stop_reason) == ("stopped", "tokens")
    assert len(model.prompts) == 2  # a third call like the second would not fit
    assert result.usage.tokens < 600


async def test_tokens_that_run_out_in_a_model_call_stop_the_run(temporal: Client) -> None:
    model = ScriptedModel(["x" * 4_000])  # a thousand tokens that are no decision
    async with on_stage(temporal, model, [reviewer]) as stage:
        result = await stage.run("reviewer", limits=Limits(max_tokens=900))
    assert (result.status, result.stop_reason) == ("stopped", "tokens")
    assert 0 < result.usage.tokens <= 900


async def test_agents_that_are_called_together_share_what_is_left(temporal: Client) -> None:
    other = Agent(name="other", instructions="Help.", output=Verdict)
    lead = Agent(name="lead", instructions="Lead.", tools=[reviewer, other])
    both = calls(call("reviewer", input="a"), call("other", input="b"))
    model = ScriptedModel([both, LOW, LOW, answer("done")], repeat_last=True)
    async with on_stage(temporal, model, [lead]) as stage:
        run = await stage.start("lead", limits=Limits(max_tokens=10_000))
        await run.result()
        (history,) = await stage.chain(run)
    given = [
        json.loads(
            event.start_child_workflow_execution_initiated_event_attributes.input.payloads[0].data
        )
        for event in history.events
        if event.HasField("start_child_workflow_execution_initiated_event_attributes")
    ]
    budgets = [request["limits"]["max_tokens"] for request in given]
    assert len(budgets) == 2
    assert sum(budgets) < 10_000


async def test_cost_bounds_a_run_at_the_price_of_its_leg(temporal: Client, cached: int) -> None:
    price = Price(prompt_usd=Decimal(1000), completion_usd=Decimal(1000))
    settings = staged_settings(
        cached=cached, generate=[Leg(task_queue="generate-{own}", price=price)]
    )
    model = ScriptedModel([call("read_metadata", package="x"), LOW])
    async with on_stage(temporal, model, [reviewer], settings=settings) as stage:
        result = await stage.run("reviewer", limits=Limits(max_cost_usd=Decimal("0.3")))
    assert (result.status, result.stop_reason) == ("stopped", "cost")
    assert Decimal(0) < result.usage.cost_usd <= Decimal("0.3")
    assert len(model.prompts) == 1  # another call could cost more than is left


async def test_a_deadline_stops_a_run_in_the_middle_of_a_model_call(
    temporal: Client, cached: int
) -> None:
    async def slow(_: object) -> dict[str, Any]:
        await asyncio.sleep(30)
        return LOW

    async with on_stage(temporal, ScriptedModel([slow]), [reviewer], cached=cached) as stage:
        result = await stage.run("reviewer", limits=Limits(deadline_s=1))
        timers = await stage.timers()
    assert (result.status, result.stop_reason) == ("stopped", "deadline")
    assert timers == ["deadline: the run stops"]  # of the turns; a local lookup has no timer


async def test_another_agent_is_a_tool_that_runs_as_a_child(temporal: Client, cached: int) -> None:
    lead = Agent(name="lead", instructions="Lead.", tools=[reviewer])
    model = ScriptedModel(
        [call("reviewer", input="pydantic"), LOW, answer("the reviewer says low")]
    )
    async with on_stage(temporal, model, [lead], cached=cached) as stage:
        result = await stage.run("lead")
        assert await stage.activities() == ["generate", "generate"]
    assert result.output == "the reviewer says low"
    assert result.usage.prompt_tokens > 0
    assert '{"tool":"reviewer","result":{"risk":"low"}}' in model.prompts[2].messages[-1]["content"]


async def test_a_spec_is_a_whole_agent_whose_tools_are_named(temporal: Client, cached: int) -> None:
    model = ScriptedModel([call("scan", package="a"), answer({"done": True})])
    spec = {
        "instructions": "Scan it.",
        "tools": ["scan"],
        "output": {
            "type": "object",
            "properties": {"done": {"type": "boolean"}},
            "required": ["done"],
        },
    }
    async with on_stage(temporal, model, [reviewer], cached=cached) as stage:
        result = await stage.run(spec=spec)
    assert result.output == {"done": True}
    assert model.prompts[0].messages[0]["content"].startswith("Scan it.")


async def test_a_mistyped_keyword_of_a_spec_is_a_warning_that_the_run_shows(
    temporal: Client, cached: int, caplog: pytest.LogCaptureFixture
) -> None:
    output = {"type": "string", "maxLenght": 5}
    spec = {"instructions": "Answer.", "output": output}
    slip = "spec.output: unknown keyword 'maxLenght'; did you mean 'maxLength'?"
    async with on_stage(temporal, ScriptedModel([answer("done")]), cached=cached) as stage:
        with pytest.warns(UserWarning, match="did you mean 'maxLength'"):
            run = await stage.start(spec=spec)
        assert (await run.result()).output == "done"
        assert (await run.progress()).warnings == [slip]
        handle = temporal.get_workflow_handle(run.id)
        metadata = await handle.query("__temporal_workflow_metadata")
    assert slip in metadata.current_details
    logged = [record for record in caplog.records if "spec.warning" in record.message]
    assert len(logged) == 1
    assert vars(logged[0])["temporal_workflow"]["workflow_id"] == run.id

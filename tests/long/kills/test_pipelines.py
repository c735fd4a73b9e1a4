"""Large pipelines, and pipelines whose workers are killed at each step."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client as TemporalClient

from outlast import ToolContext, ToolError, tool
from outlast.testing import ScriptedModel
from tests.conditions import until
from tests.long.kills.ledger import PLACES, Ledger
from tests.long.kills.test_kills import as_told
from tests.long.site import calling, site
from tests.stage import on_stage
from tests.workflows.pipelines.staging import document, result_of, start, tool_task

ITEMS = 1_000
FAILING = 30
STEPS = 500
MAX_HISTORY = 1_000_000


@pytest.mark.timeout(300)
async def test_a_thousand_items_of_which_some_fail_give_a_partial_result(
    temporal: TemporalClient,
) -> None:
    made: Counter[str] = Counter()

    @tool(effect="write")
    def visit(context: ToolContext, number: int) -> int:
        """Visit a place."""
        made[context.idempotency_key] += 1
        if number % 100 in (7, 57, 77):
            raise ToolError(f"{number} is closed")
        return number

    pipeline = document(
        {
            "each": {
                "for": {"in": f"[range({ITEMS})]", "each": "n"},
                "do": [{"visit": tool_task("visit", number="${ $n }")}],
                "metadata": {"outlast": {"concurrency": 50, "on_error": "collect"}},
            }
        }
    )
    async with on_stage(temporal, ScriptedModel([]), tools=[visit]) as stage:
        run = await start(stage, pipeline)
        output = (await result_of(stage, run))["output"]
        sizes = [sum(event.ByteSize() for event in each.events) for each in await stage.chain(run)]
    assert (output["completed"], output["failed"]) == (ITEMS - FAILING, FAILING)
    assert output["outputs"][:8] == [0, 1, 2, 3, 4, 5, 6, None]
    assert output["errors"][0]["error"]["detail"] == "7 is closed"
    assert len(made) == ITEMS
    assert set(made.values()) == {1}
    print(f"histories of {len(sizes)} runs: {sizes} bytes")
    assert max(sizes) < MAX_HISTORY


@pytest.mark.timeout(300)
async def test_a_pipeline_of_500_steps_completes(temporal: TemporalClient) -> None:
    @tool(effect="read")
    def add(number: int) -> int:
        """Add one."""
        return number + 1

    steps = [{f"step{n}": tool_task("add", number="${ . }")} for n in range(STEPS)]
    async with on_stage(temporal, ScriptedModel([]), tools=[add]) as stage:
        run = await start(stage, document(*steps), 0)
        result = await result_of(stage, run)
        sizes = [sum(event.ByteSize() for event in each.events) for each in await stage.chain(run)]
    assert (result["output"], result["tasks"]) == (STEPS, STEPS)
    print(f"histories of {len(sizes)} runs: {sizes} bytes")
    assert max(sizes) < MAX_HISTORY


@pytest.mark.timeout(300)
async def test_each_effect_of_a_diamond_happens_once_although_its_workers_are_killed(
    tmp_path: Path,
) -> None:
    """Four agents: one, then two at the same time, then one. Each makes a `write`, and is killed there."""
    async with Ledger() as ledger, site(tmp_path, as_told, agents="tests.long.kills.agents") as on:

        def pays(order_id: str) -> dict[str, Any]:
            arguments = {"order_id": order_id, "port": ledger.port}
            text = calling("transfer_verified", **arguments)
            return {"call": "agent", "with": {"agent": "payer", "input": text}}

        pipeline = document(
            {"first": pays("a")},
            {"both": {"fork": {"branches": [{"left": pays("b")}, {"right": pays("c")}]}}},
            {"last": pays("d")},
        )
        steps = (("a",), ("b", "c"), ("d",))
        for place, step in zip(PLACES, steps, strict=True):
            for order_id in step:
                ledger.hold(order_id, place)
        handle = await on.client.temporal.start_workflow(
            "PipelineWorkflow",
            {"pipeline": pipeline},
            id="diamond",
            task_queue="agents",
            result_type=dict,
        )
        for step in steps:
            await until(lambda step=step: set(step) <= ledger.held)  # type: ignore[misc]
            await on.worker.kill()
            await on.worker.start()
        result = await handle.result()
    assert result["output"] == "done"
    assert result["agent_runs"] == 4
    assert Counter(name for name, _ in ledger.arrivals) == dict.fromkeys("abcd", 1)

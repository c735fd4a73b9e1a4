"""Tools in TypeScript: the worker of examples/typescript-tools, with an agent of the Python examples.

`make test-npm` installs its packages and compiles it.
"""

import asyncio
import json
import os
import shutil
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from outlast_examples.stock_desk import stock_desk
from temporalio import workflow
from temporalio.client import Client as TemporalClient
from temporalio.client import WorkflowFailureError
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from outlast import Agent, Leg, Route, Run, RunFailed
from outlast.contracts.agents import ToolSpec
from outlast.testing import ScriptedModel, answer, call
from tests.stage import on_stage, pending

WORKER = Path(__file__).parents[2] / "examples" / "typescript-tools"

ENDS_WITHIN_S = 60

pytestmark = [
    pytest.mark.skipif(shutil.which("node") is None, reason="node is missing: install Node 20"),
    pytest.mark.skipif(
        not (WORKER / "dist" / "worker.js").is_file(),
        reason="the TypeScript worker is not built: make test-npm",
    ),
]


class TypeScriptWorker:
    """The worker as a process, which can be killed."""

    def __init__(self, temporal: TemporalClient, folder: Path, **variables: str) -> None:
        self.queue = f"typescript-{uuid.uuid4().hex[:8]}"
        self.orders = folder / "orders.txt"
        self._environment = {
            "PATH": os.environ["PATH"],
            "TEMPORAL_ADDRESS": temporal.service_client.config.target_host,
            "TASK_QUEUE": self.queue,
            "STOCK_ORDERS": str(self.orders),
            **variables,
        }
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            *("node", "dist/worker.js"),
            cwd=WORKER,
            env=self._environment,
            stderr=asyncio.subprocess.DEVNULL,
        )

    async def kill(self) -> None:
        if self._process is not None:
            if self._process.returncode is None:
                self._process.kill()
            await self._process.wait()

    def agent(self) -> Agent[Any, Any]:
        """Return the agent of the example, on the task queue of this worker."""
        route = Route(legs=(Leg(task_queue=self.queue),))
        tools = [
            tool.model_copy(update={"route": route})
            for tool in stock_desk.tools
            if isinstance(tool, ToolSpec)
        ]
        return Agent("stock-desk", "Keep the shop in stock.", tools=tools)


@asynccontextmanager
async def serving(
    temporal: TemporalClient, folder: Path, **variables: str
) -> AsyncIterator[TypeScriptWorker]:
    worker = TypeScriptWorker(temporal, folder, **variables)
    await worker.start()
    try:
        yield worker
    finally:
        await worker.kill()


async def results(run: Run) -> list[Any]:
    async with asyncio.timeout(ENDS_WITHIN_S):
        await run.result()
    return [
        json.loads(each.content or "null") for each in await run.transcript() if each.role == "tool"
    ]


async def test_a_run_calls_tools_in_typescript(temporal: TemporalClient, tmp_path: Path) -> None:
    model = ScriptedModel(
        [
            call("stock_level", item="chair"),
            call("stock_level", item="toString"),
            call("order_stock", item="chair", count=0),
            call("order_stock", item="chair", count=3),
            answer("Ordered."),
        ]
    )
    async with serving(temporal, tmp_path) as worker:
        agent = worker.agent()
        async with on_stage(temporal, model, [agent]) as stage:
            run = await stage.start(agent, tenant="acme")
            first = await pending(run)
            assert (first.tool, first.audience) == ("order_stock", "stock-leads")
            await run.approve(first, by="ann")
            async with asyncio.timeout(ENDS_WITHIN_S):
                while (second := await pending(run)).request_id == first.request_id:
                    await asyncio.sleep(0.05)
            assert not worker.orders.exists()
            await run.edit(second, {"item": "chair", "count": 2}, by="ann")
            assert await results(run) == [
                {"item": "chair", "count": 0},
                {"error": 'there is no item "toString"'},
                {"retry": "count is 0; order at least one"},
                {
                    "arguments_edited_to": {"item": "chair", "count": 2},
                    "result": "ordered 2 of chair",
                },
            ]
    (order,) = worker.orders.read_text().splitlines()
    tenant, key, *what = order.split()
    assert (tenant, what) == ("acme", ["2", "chair"])
    assert key.startswith(run.id)


async def test_a_call_goes_on_after_its_worker_is_killed(
    temporal: TemporalClient, tmp_path: Path
) -> None:
    model = ScriptedModel([call("count_stock", seconds=1), answer("Counted.")])
    async with serving(temporal, tmp_path) as worker:
        agent = worker.agent()
        async with on_stage(temporal, model, [agent]) as stage:
            run = await stage.start(agent)
            handle = temporal.get_workflow_handle(run.id)
            async with asyncio.timeout(ENDS_WITHIN_S):
                while not await attempts(handle):
                    await asyncio.sleep(0.02)
            await worker.kill()
            await worker.start()
            assert await results(run) == [7]


async def test_a_broken_tool_fails_the_run_after_four_attempts(
    temporal: TemporalClient, tmp_path: Path
) -> None:
    model = ScriptedModel([call("stock_level", item="lamp")])
    async with serving(temporal, tmp_path, STOCK_FILE="no-such-file.json") as worker:
        agent = worker.agent()
        async with on_stage(temporal, model, [agent]) as stage:
            run = await stage.start(agent)
            with pytest.raises(RunFailed, match=r"stock_level .*no-such-file\.json"):
                await results(run)
            events = (await stage.last()).events
    started = [event.activity_task_started_event_attributes for event in events]
    assert max(each.attempt for each in started) == 4


async def attempts(handle: Any) -> bool:
    """Return whether a worker has begun the pending call."""
    described = await handle.describe()
    return any(
        each.activity_type.name == "count_stock" and each.HasField("last_started_time")
        for each in described.raw_description.pending_activities
    )


@workflow.defn(sandboxed=False)
class Stranger:
    """A workflow that is no agent, and calls a tool."""

    @workflow.run
    async def run(self, queue: str) -> Any:
        return await workflow.execute_activity(
            "order_stock",
            {"item": "lamp", "count": 1},
            task_queue=queue,
            schedule_to_close_timeout=timedelta(seconds=ENDS_WITHIN_S),
        )


async def test_only_a_run_calls_a_tool(temporal: TemporalClient, tmp_path: Path) -> None:
    queue = f"stranger-{uuid.uuid4().hex[:8]}"
    async with (
        serving(temporal, tmp_path) as worker,
        Worker(
            temporal,
            task_queue=queue,
            workflows=[Stranger],
            workflow_runner=UnsandboxedWorkflowRunner(),
        ),
    ):
        with pytest.raises(WorkflowFailureError) as caught:
            await temporal.execute_workflow(Stranger.run, worker.queue, id=queue, task_queue=queue)
    assert "only a run may call a tool" in str(caught.value.cause.__cause__)
    assert not worker.orders.exists()

"""Builds: a task stays on the one that it began with, a conversation goes to the current one."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from outlast_workers.builds.gate_runs import run_gate
from outlast_workers.builds.plan import Gate
from outlast_workers.settings import Settings
from outlast_workers.settings_sections.workers import VersioningSettings
from temporalio.api.deployment.v1 import WorkerDeploymentVersion as RecordedVersion
from temporalio.api.workflowservice.v1 import SetWorkerDeploymentCurrentVersionRequest
from temporalio.client import Client
from temporalio.common import WorkerDeploymentVersion
from temporalio.service import RPCError

from outlast import Agent, tool
from outlast.model_server import Prompt
from outlast.testing import ScriptedModel, answer, call
from tests.stage import Stage, on_stage, staged_settings

desk = Agent(name="desk", instructions="Chat.")


@tool(effect="write", approval="leads")
def refund(order_id: str) -> str:
    """Refund an order."""
    return order_id


careful = Agent(name="careful", instructions="Refund.", tools=[refund])


class Builds:
    """A worker deployment of which several builds serve the same task queues."""

    def __init__(self, client: Client, stack: AsyncExitStack) -> None:
        self._client = client
        self._stack = stack
        self.name = f"outlast-{uuid.uuid4().hex[:8]}"
        self._settings = staged_settings(cached=1000)

    async def serve(self, build_id: str) -> Stage:
        """Start workers of a build, whose model answers with its name."""

        def says(prompt: Prompt) -> Any:
            if prompt.agent == "careful" and len(prompt.turns) == 1:
                return call("refund", order_id="A-1")
            return answer(f"{build_id}: {prompt.messages[-1]['content']}")

        versioning = VersioningSettings(deployment_name=self.name, build_id=build_id)
        settings: Settings = self._settings.model_copy(update={"versioning": versioning})
        model = ScriptedModel([says], repeat_last=True)
        stage = await self._stack.enter_async_context(
            on_stage(self._client, model, [desk, careful], settings=settings)
        )
        await self._promote(build_id)
        return stage

    async def _promote(self, build_id: str) -> None:
        request = SetWorkerDeploymentCurrentVersionRequest(
            namespace=self._client.namespace,
            deployment_name=self.name,
            build_id=build_id,
            identity="test",
        )
        async with asyncio.timeout(30):
            while True:
                try:
                    await self._client.workflow_service.set_worker_deployment_current_version(
                        request
                    )
                except RPCError:
                    await asyncio.sleep(0.2)  # its task queues are not registered yet
                else:
                    return


@asynccontextmanager
async def builds(client: Client) -> AsyncIterator[Builds]:
    async with AsyncExitStack() as stack:
        yield Builds(client, stack)


async def version_of(stage: Stage, run_id: str) -> str:
    described = await stage.client.temporal.get_workflow_handle(run_id).describe()
    version: RecordedVersion = (
        described.raw_description.workflow_execution_info.versioning_info.deployment_version
    )
    return version.build_id


async def test_a_conversation_goes_on_with_the_current_build_and_all_that_was_said(
    temporal: Client,
) -> None:
    async with asyncio.timeout(90), builds(temporal) as of:
        old = await of.serve("v1")
        chat = f"chat-{uuid.uuid4().hex[:8]}"
        options: dict[str, Any] = {"agent": desk, "task_queue": old.task_queue}
        assert await old.client.chat(chat, "hello", **options) == "v1: hello"
        new = await of.serve("v2")
        async with asyncio.timeout(30):
            while (reply := await new.client.chat(chat, "again", **options)) == "v1: again":
                await asyncio.sleep(0.5)
        assert reply == "v2: again"
        assert await version_of(new, chat) == "v2"
        keyed = {**options, "update_id": "k1"}
        assert await new.client.chat(chat, "once", **keyed) == "v2: once"
        newest = await of.serve("v3")
        async with asyncio.timeout(30):
            while (reply := await newest.client.chat(chat, "more", **options)) == "v2: more":
                await asyncio.sleep(0.5)
        assert await newest.client.chat(chat, "once", **keyed) == reply, (
            "received by the run before"
        )
        entries = [entry.content for entry in await new.client.get(chat).transcript()]
        assert entries[:2] == ["hello", '{"answer":"v1: hello"}']
        await new.client.get(chat).finish()


async def test_a_gate_run_that_waits_says_for_what(temporal: Client) -> None:
    said = asyncio.Queue[str]()
    async with asyncio.timeout(90), builds(temporal) as of:
        stage = await of.serve("v1")
        gate = Gate(agent="careful", input="Refund A-1.")
        run_id = gate.run_id(of.name, "v1")
        gated = asyncio.create_task(
            run_gate(
                temporal,
                gate,
                WorkerDeploymentVersion(of.name, "v1"),
                task_queue=stage.task_queue,
                timeout_s=60,
                report=said.put_nowait,
            )
        )
        line = await said.get()
        assert line.startswith("gate careful: leads must approve refund(order_id=A-1): outlast")
        await stage.started(run_id).approve("1.1")
        assert await gated is None

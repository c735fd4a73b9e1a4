"""A site: a Temporal server, a scripted model and a worker, each a process of its own."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from outlast_workers.local.ports import free_port
from outlast_workers.local.servers import TemporalServer

from bench.scripted_model_server import Script, ScriptedModelServer
from outlast import Client
from tests.acceptance.processes import WorkerUnderTest


@dataclass
class Site:
    temporal: TemporalServer
    model: ScriptedModelServer
    worker: WorkerUnderTest
    client: Client


@asynccontextmanager
async def site(
    tmp_path: Path,
    script: Script,
    *,
    drain_s: float = 25,
    agents: str = "tests.acceptance.agents",
    roles: str = "workflows,generate,tools",
    settings: Mapping[str, str] | None = None,
) -> AsyncIterator[Site]:
    temporal = TemporalServer(log_dir=tmp_path, port=free_port(), db=tmp_path / "temporal.db")
    async with temporal, ScriptedModelServer(script) as model:
        worker = WorkerUnderTest(
            address=temporal.address,
            model_url=model.url,
            agents=agents,
            log=tmp_path / "worker.log",
            drain_s=drain_s,
            roles=roles,
            settings=settings,
        )
        await worker.start()
        client = await Client.connect(target_host=temporal.address)
        try:
            yield Site(temporal, model, worker, client)
        finally:
            await worker.terminate()


def local_tools(*, enabled: bool) -> dict[str, str]:
    """Return the setting of a worker that runs short tools as local activities, or as ordinary ones."""
    return {"OUTLAST_TOOLS__LOCAL": str(enabled).lower()}


def calling(tool: str, **arguments: object) -> str:
    return calling_all((tool, arguments))


def calling_all(*calls: tuple[str, dict[str, object]]) -> str:
    made = [{"tool": tool, "arguments": arguments} for tool, arguments in calls]
    return json.dumps({"tool_calls": made})


ANSWER = '{"answer":"done"}'

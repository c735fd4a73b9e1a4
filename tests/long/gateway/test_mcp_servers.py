"""MCP servers over hours and under load: kills, a late answer, lists, secrets and connections."""

import asyncio
import base64
import json
import os
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from outlast_activities.mcp.connections import MAX_CALLS
from outlast_workers.mcp_catalog import with_mcp_tools
from temporalio.client import Client as TemporalClient
from temporalio.client import WorkflowHistory

from bench.scripted_model_server import Request, ScriptedModelServer, Step
from outlast import Agent, Client, McpServer
from tests.acceptance.processes import WorkerUnderTest
from tests.activities.mcp.test_mcp_tools import NotesServer
from tests.long.site import ANSWER, calling
from tests.long.test_request_sequences import jump
from tests.stage import catalog_of, pending

CANARY = "canary-0123456789"

HOURS_S = 3 * 3_600

CALLS = 1_000


@pytest.fixture
async def notes(tmp_path: Path) -> AsyncIterator[NotesServer]:
    server = NotesServer(tmp_path)
    yield server
    await server.kill()


@pytest.mark.timeout(240)
async def test_an_answer_after_three_hours_makes_one_call(
    skipping: TemporalClient, notes: NotesServer, tmp_path: Path
) -> None:
    lists = tmp_path / "lists.txt"
    variables = {"NOTES_LISTS": str(lists)}
    await notes.start(**variables)
    steps = [calling("notes_add_note", text="a"), calling("notes_delete_note", number=7), ANSWER]

    def script(request: Request) -> Step:
        return Step(steps[request.assistant_messages])

    async with ScriptedModelServer(script) as model:
        worker = WorkerUnderTest(
            address=skipping.service_client.config.target_host,
            model_url=model.url,
            agents="tests.long.gateway.mcp_agents",
            log=tmp_path / "worker.log",
            settings={
                "NOTES_URL": notes.url,
                "NOTES_TOKEN": CANARY,
                # The test server keeps tasks for the memory of a worker that was killed.
                "OUTLAST_CONCURRENCY__CACHED_WORKFLOWS": "0",
            },
        )
        await worker.start()
        listed = lists.read_text()
        client = Client(skipping)
        run = await client.start("writer", "Delete note 7.")
        request = await pending(run)
        assert "Delete note 7?" in (request.question or "")
        assert lists.read_text() == listed, "a run lists no tools"
        await worker.kill()
        await notes.kill()
        await jump(skipping, HOURS_S)

        await notes.start(**variables)
        await worker.start()
        listed = lists.read_text()
        await run.answer(request, {"sure": True}, by="ann")
        assert (await run.result()).output == "done"
        assert lists.read_text() == listed, "a run lists no tools"
        await worker.terminate()
    assert notes.notes.read_text() == "a\ndelete 7\n"
    history = await skipping.get_workflow_handle(run.id).fetch_history()
    first, last = (history.events[at].event_time.ToSeconds() for at in (0, -1))
    assert last - first >= HOURS_S
    assert CANARY not in str(history.to_json()) + (tmp_path / "worker.log").read_text()
    assert all(CANARY.encode() not in data for data in payloads(history))


def payloads(history: WorkflowHistory) -> list[bytes]:
    """Return the data of all payloads of a history, decoded."""
    texts = re.findall(r'"data": "([A-Za-z0-9+/=]+)"', history.to_json())
    return [base64.b64decode(text) for text in texts]


@pytest.mark.timeout(240)
async def test_a_thousand_calls_share_the_connections_of_one_server(
    notes: NotesServer, tmp_path: Path
) -> None:
    lists = tmp_path / "lists.txt"
    await notes.start(NOTES_LISTS=str(lists))
    agent = Agent("writer", "Write.", mcp=[McpServer("notes", url=notes.url)])
    before = open_files()
    async with with_mcp_tools(catalog_of([agent])) as catalog:
        tool, listed = catalog.tools["notes_much"], lists.read_text()
        # A pause between calls closes connections, so their number is bounded, but not steady.
        for _ in range(2):
            results = await asyncio.gather(*(tool.invoke({"size": 10}) for _ in range(CALLS)))
            assert all(json.loads(each) == {"result": "x" * 10} for each in results)
            assert open_files() <= before + MAX_CALLS + 5
        assert lists.read_text() == listed
    assert open_files() <= before + 5


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))

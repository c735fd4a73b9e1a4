"""Answers of people to MCP servers are in the arguments of a call, so that a payload codec encodes them."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest_asyncio
from temporalio.api.common.v1 import Payload
from temporalio.client import Client as TemporalClient
from temporalio.converter import PayloadCodec

from outlast import McpServer
from outlast.temporal.plugin import OutlastPlugin
from outlast.testing import ScriptedModel, answer, call
from tests.activities.mcp.test_mcp_tools import NotesServer, stage_of
from tests.stage import pending

ENCODING = b"binary/reversed"


class Reversing(PayloadCodec):
    """Encodes whole payloads, as encrypting codecs do."""

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [
            Payload(metadata={"encoding": ENCODING}, data=each.SerializeToString()[::-1])
            for each in payloads
        ]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [
            Payload.FromString(each.data[::-1])
            if each.metadata.get("encoding") == ENCODING
            else each
            for each in payloads
        ]


@pytest_asyncio.fixture
async def notes(tmp_path: Path) -> AsyncIterator[NotesServer]:
    server = NotesServer(tmp_path)
    await server.start()
    yield server
    await server.kill()


async def test_answers_of_people_are_encoded(temporal: TemporalClient, notes: NotesServer) -> None:
    client = await TemporalClient.connect(
        temporal.service_client.config.target_host, plugins=[OutlastPlugin(codec=Reversing())]
    )
    server = McpServer("notes", url=notes.url)
    model = ScriptedModel([call("notes_delete_note", number=7), answer("Done.")])
    async with stage_of(client, model, server) as stage:
        run = await stage.start("writer")
        await run.answer(await pending(run), {"sure": True})
        assert (await run.result()).output == "Done."
        history = await client.get_workflow_handle(run.id).fetch_history()
    assert notes.notes.read_text() == "delete 7\n"
    stored = b"".join(event.SerializeToString() for event in history.events)
    assert b"delete_note" in stored  # names of tools are readable
    for secret in (b'"sure"', b'\\"sure', b"delete 7"):
        assert secret not in stored

"""Hooks around the tools of MCP servers: a server that asks for input has not returned an error."""

from typing import Any

from pydantic import JsonValue
from temporalio.client import Client as TemporalClient

from outlast import Hooks, McpServer, ToolRequest
from outlast.testing import ScriptedModel, answer, call
from tests.activities.mcp.test_mcp_tools import NotesServer, notes, shared_notes, stage_of
from tests.stage import pending

__all__ = ["notes", "shared_notes"]


class Audit(Hooks):
    """Notes each result, and hides the texts of errors."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.seen: list[Any] = []

    def after_tool(self, request: ToolRequest, result: JsonValue) -> JsonValue:
        self.seen.append(result)
        is_error = isinstance(result, dict) and "error" in result
        return {"error": "hidden"} if is_error else result


async def test_a_question_of_a_server_passes_hooks_that_change_errors(
    temporal: TemporalClient,
    notes: NotesServer,
) -> None:
    audit = Audit("audit")
    server = McpServer("notes", url=notes.url)
    model = ScriptedModel([call("notes_delete_note", number=7), answer("Done.")])
    async with stage_of(temporal, model, server, hooks=[audit]) as stage:
        run = await stage.start("writer")
        request = await pending(run)
        assert "Delete note 7?" in (request.question or "")
        await run.answer(request, {"sure": True}, by="ann")
        assert (await run.result()).output == "Done."
    assert notes.notes.read_text() == "delete 7\n"
    assert len(audit.seen) == 1
    assert "error" not in audit.seen[0]

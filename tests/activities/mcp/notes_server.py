"""A real MCP server for tests: notes in a file. `python notes_server.py FILE [PORT]`."""

import base64
import os
import sys
from pathlib import Path
from typing import Any

import mcp_types
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.request_state import RequestStateSecurity

# A key that outlives the process, so that answers may come after a restart.
security = RequestStateSecurity(keys=[b"k" * 32], ttl=86_400)


def note_list() -> None:
    if "NOTES_LISTS" in os.environ:
        with Path(os.environ["NOTES_LISTS"]).open("a") as file:
            file.write("list\n")


class NotesServer(MCPServer):
    """A server that notes in the file `NOTES_LISTS` that a client listed its tools."""

    async def list_tools(self) -> list[mcp_types.Tool]:
        note_list()
        return await super().list_tools()


server = NotesServer("notes", request_state_security=security)
notes = Path(sys.argv[1])
PICTURE = base64.b64encode(b"\x89PNG\r\n\x1a\n").decode()


@server.tool(description=os.environ.get("NOTES_DESCRIPTION", "Add a note."))
def add_note(text: str) -> str:
    with notes.open("a") as file:
        file.write(f"{text}\n")
    return f"added {text}"


@server.tool()
def delete_note(number: int, ctx: Context) -> str | mcp_types.InputRequiredResult:
    """Delete a note, after a question."""
    answers: Any = ctx.input_responses or {}
    if "sure" not in answers:
        form = mcp_types.ElicitRequestFormParams(
            message=f"Delete note {number}?",
            requested_schema={
                "type": "object",
                "properties": {"sure": {"type": "boolean"}},
                "required": ["sure"],
            },
        )
        request = mcp_types.ElicitRequest(params=form)
        return mcp_types.InputRequiredResult(
            input_requests={"sure": request}, request_state=f"delete {number}"
        )
    answer = answers["sure"]
    if answer.action != "accept" or not answer.content["sure"]:
        return f"kept note {number}: {answer.action}"
    with notes.open("a") as file:
        file.write(f"{ctx.request_state}\n")
    return f"deleted note {number}"


@server.tool()
def read_notes() -> dict[str, list[str]]:
    """Read all notes."""
    return {"notes": notes.read_text().splitlines() if notes.exists() else []}


@server.tool()
def fail(reason: str) -> str:
    """Fail."""
    raise ToolError(reason)


@server.tool()
def show_secret(ctx: Context) -> str:
    """Show what the client sent."""
    request = ctx.request_context.request
    return str(request.headers.get("authorization") if request else os.environ.get("NOTES_TOKEN"))


@server.tool()
def show_trace(ctx: Context) -> str:
    """Show the trace context that the client sent."""
    return str((ctx.request_context.meta or {}).get("traceparent"))


@server.tool()
def much(size: int) -> str:
    """Return much text."""
    return "x" * size


@server.tool()
def die() -> str:
    """End the server."""
    os._exit(3)


@server.tool()
def picture() -> list[mcp_types.ContentBlock]:
    """Return a picture."""
    return [
        mcp_types.TextContent(text="a picture:"),
        mcp_types.ImageContent(data=PICTURE, mime_type="image/png"),
        mcp_types.ImageContent(data="aGk=", mime_type="image/png"),
        mcp_types.AudioContent(data="aGk=", mime_type="audio/wav"),
    ]


if __name__ == "__main__":
    if len(sys.argv) > 2:
        server.run("streamable-http", host="127.0.0.1", port=int(sys.argv[2]))
    else:
        server.run("stdio")

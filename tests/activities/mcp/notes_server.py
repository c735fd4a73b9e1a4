"""A real MCP server for tests: notes in a file. `python notes_server.py FILE [PORT]`."""

import os
import sys
from pathlib import Path

import mcp_types
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError

server = MCPServer("notes")
notes = Path(sys.argv[1])


@server.tool(description=os.environ.get("NOTES_DESCRIPTION", "Add a note."))
def add_note(text: str) -> str:
    with notes.open("a") as file:
        file.write(f"{text}\n")
    return f"added {text}"


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
        mcp_types.ImageContent(data="aGk=", mime_type="image/png"),
    ]


if __name__ == "__main__":
    if len(sys.argv) > 2:
        server.run("streamable-http", host="127.0.0.1", port=int(sys.argv[2]))
    else:
        server.run("stdio")

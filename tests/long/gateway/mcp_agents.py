"""An agent with the tools of a real MCP server, for worker processes that tests kill."""

import os

from outlast import Agent, McpServer

notes = McpServer("notes", url=os.environ["NOTES_URL"], credentials="env:NOTES_TOKEN")
writer = Agent("writer", "Write notes.", mcp=[notes])

"""An agent with the tools of an MCP server, whose runs the tests of traces look at."""

import os
import sys
from pathlib import Path

from outlast import Agent, McpServer

PROGRAM = Path(__file__).parents[1] / "activities" / "mcp" / "notes_server.py"

notes = McpServer("notes", command=(sys.executable, str(PROGRAM), os.devnull))
writer = Agent(name="writer", instructions="Write.", mcp=[notes])

"""Names that clients, workflows and workers share."""

from typing import Annotated

from pydantic import Field

AGENT_WORKFLOW = "AgentWorkflow"
AGENTS_QUEUE = "agents"
GENERATE_QUEUE = "generate"
TOOLS_QUEUE = "tools"

WAITED_HEADER = "outlast-waited-s"
"""Metadata of the payload of a tool result: seconds that the call waited for its worker."""

NAME_PATTERN = r"^[A-Za-z][A-Za-z0-9_-]{0,63}$"
Name = Annotated[str, Field(pattern=NAME_PATTERN)]
"""Names of agents and tools: a letter, then at most 63 letters, digits, `_` and `-`."""

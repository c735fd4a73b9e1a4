"""Names that cross every boundary: the workflow, its task queues, and names of agents and tools."""

from typing import Annotated

from pydantic import Field

AGENT_WORKFLOW = "AgentWorkflow"
AGENTS_QUEUE = "agents"
GENERATE_QUEUE = "generate"
TOOLS_QUEUE = "tools"

NAME_PATTERN = r"^[A-Za-z][A-Za-z0-9_-]{0,63}$"
Name = Annotated[str, Field(pattern=NAME_PATTERN)]
"""Names of agents and tools: letters, digits, `_` and `-`, beginning with a letter, 64 at most."""

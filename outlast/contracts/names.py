"""Names that clients, workflows and workers share."""

import re
from typing import Annotated

from pydantic import BeforeValidator, Field

AGENT_WORKFLOW = "AgentWorkflow"
PIPELINE_WORKFLOW = "PipelineWorkflow"
WORKFLOWS = (AGENT_WORKFLOW, PIPELINE_WORKFLOW)
"""The workflows that call tools and ask people."""

AGENTS_QUEUE = "agents"
GENERATE_QUEUE = "generate"
TOOLS_QUEUE = "tools"

WAITED_HEADER = "outlast-waited-s"
"""Metadata of the payload of a tool result: seconds that the call waited for its worker."""

MAX_RUN_ID_BYTES = 1_000
"""Bytes of a workflow id: the limit of the Temporal server."""

MAX_TOOLS = 64
"""Tools of a `spec`: each is part of every prompt and of the decision schema."""

FIND_OPERATION = "find_openapi_operation"
"""The type of the activity that reads an OpenAPI document for a pipeline."""

FIND_AGENT = "find_a2a_agent"
"""The type of the activity that reads the card of an A2A agent for a pipeline."""

HTTP_ACTIVITIES = (
    *("call_http_read", "call_http_idempotent", "call_http_write", FIND_OPERATION),
    *("call_a2a_read", "call_a2a_idempotent", "call_a2a_write", FIND_AGENT),
)
"""The types of the activities that make HTTP calls of pipelines."""

INPUT = "{input}"
"""The place of the input in a prompt."""

NAME_PATTERN = r"^[A-Za-z][A-Za-z0-9_-]{0,63}$"
NAME_RULE = "give a letter, then at most 63 letters, digits, '_' and '-'"


def _checked_name(name: object) -> object:
    """Reject a text with words; the pattern itself would show a regular expression."""
    if isinstance(name, str) and not re.fullmatch(NAME_PATTERN, name):
        raise ValueError(f"is not a name; {NAME_RULE}")
    return name


Name = Annotated[str, Field(pattern=NAME_PATTERN), BeforeValidator(_checked_name)]
"""Names of agents and tools: a letter, then at most 63 letters, digits, `_` and `-`."""


def mcp_tool_name(server: str, tool: str) -> str:
    """Return the name of a tool of an MCP server. The names of models have no dots and slashes."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", f"{server}_{tool}")


def run_id_problem(run_id: object) -> str | None:
    """Return why a workflow id cannot be the id of a run, in words that follow its name, or None.

    Ids are shown to people in commands and links, so they are one line of printable text.
    """
    if not isinstance(run_id, str):
        return "is not text"
    if not run_id:
        return "is empty; give a workflow id"
    odd = next((each for each in run_id if not each.isprintable() or each == "`"), None)
    if odd is not None:
        return f"has the character {odd!a}; use printable text without backticks"
    size = len(run_id.encode(errors="replace"))
    if size > MAX_RUN_ID_BYTES:
        return f"has {size:,} bytes; at most {MAX_RUN_ID_BYTES:,} are allowed"
    return None

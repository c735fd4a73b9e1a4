"""An agent that calls the servers of `call_receiver`, whose URL is in `RECEIVER_URL`."""

import os

from outlast import Agent, Approval, McpServer, tool, tools_from_openapi
from tests.workers.call_receiver import DOCUMENT

URL = os.environ["RECEIVER_URL"]


@tool(effect="irreversible", approval=Approval(audience="leads"))
async def refund(order: str) -> str:
    """Refund an order."""
    return order


caller = Agent(
    name="caller",
    instructions="Call.",
    tools=[*tools_from_openapi(DOCUMENT, servers=f"{URL}/pets"), refund],
    mcp=[McpServer("notes", url=f"{URL}/mcp", effects={"read": "read"})],
)

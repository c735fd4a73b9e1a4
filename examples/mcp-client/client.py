"""An MCP client in a terminal: it lists the agents of a gateway, starts one, and asks you what it needs.

python client.py http://127.0.0.1:8060/mcp refund-desk "Refund order A-1042."
"""

import asyncio
import os
import sys
from typing import Any

import httpx2
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp_types import ElicitResult


async def ask(context: Any, params: Any) -> ElicitResult:  # noqa: ARG001 names of the SDK
    """Show a human request of the run, and read the fields of its form. An empty line declines."""
    print(params.message, flush=True)
    content: dict[str, Any] = {}
    for name, field in params.requested_schema["properties"].items():
        choices = "/".join(map(str, field.get("enum", [])))
        print(f"{name} {choices or field['type']}: ", end="", flush=True)
        text = (await asyncio.to_thread(sys.stdin.readline)).strip()
        if text:
            content[name] = text == "true" if field["type"] == "boolean" else text
    return ElicitResult(action="accept" if content else "decline", content=content or None)


async def main(url: str, agent: str, text: str) -> None:
    """List the agents, start one with a text, and print its answer."""
    token = os.environ.get("GATEWAY_TOKEN")
    headers = {"authorization": f"Bearer {token}"} if token else {}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=60) as http,
        Client(streamable_http_client(url, http_client=http), elicitation_callback=ask) as client,
    ):
        for tool in (await client.list_tools()).tools:
            print(f"{tool.name}: {tool.description}", flush=True)
        result = await client.call_tool(agent, {"input": text})
        print("\n".join(part.text for part in result.content if part.type == "text"))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:4]))

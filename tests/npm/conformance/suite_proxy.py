"""What stands between MCP's conformance suite and the gateway: it changes one thing, and nothing else.

The suite calls tools that every server under test has, with arguments of their own. The agents of the test
have these names, and take one text. So the proxy passes the arguments on as JSON text.
"""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

_OF_A_CONNECTION = ("content-length", "connection", "accept-encoding", "transfer-encoding")

_METHODS = ["GET", "POST", "DELETE", "OPTIONS"]


@asynccontextmanager
async def suite_proxy(gateway_url: str, agents: frozenset[str]) -> AsyncIterator[Starlette]:
    """Yield the proxy for the agents of a gateway."""

    async def pass_on(request: Request) -> Response:
        headers = {
            name: text for name, text in request.headers.items() if name not in _OF_A_CONNECTION
        }
        content = _with_text(await request.body(), agents)
        sent = client.build_request(request.method, "/mcp", headers=headers, content=content)
        answer = await client.send(sent, stream=True)
        kept = {name: text for name, text in answer.headers.items() if name not in _OF_A_CONNECTION}
        return StreamingResponse(
            answer.aiter_raw(), answer.status_code, kept, background=BackgroundTask(answer.aclose)
        )

    async with httpx2.AsyncClient(base_url=gateway_url, timeout=60) as client:
        yield Starlette(routes=[Route("/mcp", pass_on, methods=_METHODS)])


def _with_text(body: bytes, agents: frozenset[str]) -> bytes:
    try:
        message = json.loads(body)
        params = message["params"]
        is_call = message["method"] == "tools/call" and params["name"] in agents
    except (ValueError, TypeError, KeyError):
        return body
    if not is_call or not isinstance(params.get("arguments"), dict):
        return body
    params["arguments"] = {"input": json.dumps(params["arguments"])}
    return json.dumps(message).encode()

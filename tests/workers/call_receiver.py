"""The servers that a run calls, in one process: they keep the headers of each request."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from mcp.server.mcpserver import Context, MCPServer
from outlast_workers.local.ports import free_port
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from tests.loopback import listening

DOCUMENT: dict[str, Any] = {
    "openapi": "3.1.0",
    "info": {"title": "Pets", "version": "1"},
    "servers": [{"url": "/pets"}],
    "paths": {"/list": {"get": {"operationId": "listPets"}}},
}


class CallReceiver:
    """An HTTP API with its document, an A2A agent, an MCP server and a webhook."""

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.received: list[tuple[str, Headers]] = []
        self.metas: list[dict[str, Any]] = []

    @property
    def paths(self) -> set[str]:
        """The first parts of the paths that were called."""
        return {path.split("/")[1] for path, _ in self.received}

    @asynccontextmanager
    async def open(self) -> AsyncIterator["CallReceiver"]:
        """Serve until the block ends."""
        server = MCPServer("notes")
        server.tool(name="read")(self.read)
        app = Starlette(
            routes=[
                Route("/openapi.json", self.document),
                Route("/pets/list", self.pets),
                Route("/moved", self.moved),
                Route("/missing", self.missing),
                Route("/card", self.card),
                Route("/rpc", self.rpc, methods=["POST"]),
                Route("/hook", self.hook, methods=["POST"]),
                Mount("/", server.streamable_http_app()),
            ]
        )
        app.add_middleware(self._middleware)
        async with server.session_manager.run(), listening(app, self.port):
            yield self

    def _middleware(self, app: ASGIApp) -> ASGIApp:
        async def recorded(scope: Scope, receive: Receive, send: Send) -> None:
            self.received.append((scope["path"], Headers(scope=scope)))
            await app(scope, receive, send)

        return recorded

    def read(self, ctx: Context) -> str:
        """Read the notes."""
        self.metas.append(dict(ctx.request_context.meta or {}))
        return "no notes"

    async def document(self, request: Request) -> Response:
        return JSONResponse(DOCUMENT)

    async def pets(self, request: Request) -> Response:
        return JSONResponse(["Rex"])

    async def moved(self, request: Request) -> Response:
        return RedirectResponse("/pets/list")

    async def missing(self, request: Request) -> Response:
        return JSONResponse({}, 404)

    async def card(self, request: Request) -> Response:
        interface = {
            "url": f"{self.url}/rpc",
            "protocolBinding": "JSONRPC",
            "protocolVersion": "1.0",
        }
        return JSONResponse({"name": "tester", "supportedInterfaces": [interface]})

    async def rpc(self, request: Request) -> Response:
        identifier = (await request.json())["id"]
        message = {"messageId": "m", "role": "ROLE_AGENT", "parts": [{"text": "done"}]}
        return JSONResponse({"jsonrpc": "2.0", "id": identifier, "result": {"message": message}})

    async def hook(self, request: Request) -> Response:
        return Response(status_code=204)

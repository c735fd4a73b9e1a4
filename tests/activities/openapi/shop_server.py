"""A real HTTP API for tests: it echoes requests, keeps orders, and fails in the ways that servers fail."""

import asyncio
import gzip
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from outlast_workers.local.ports import free_port
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from tests.loopback import listening

BOMB = gzip.compress(b"x" * 9_000_000)
PNG = b"\x89PNG\r\n\x1a\n"


def _path(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": {}}


def _query(name: str, kind: str = "string", **fields: Any) -> dict[str, Any]:
    schema = {"type": kind}
    return {"name": name, "in": "query", "schema": schema, **fields}


def _body(schema: dict[str, Any], kind: str = "application/json") -> dict[str, Any]:
    return {"required": True, "content": {kind: {"schema": schema}}}


DOCUMENT: dict[str, Any] = {
    "openapi": "3.1.0",
    "paths": {
        "/echo/{key}/{more}": {
            "post": {
                "operationId": "echo",
                "parameters": [
                    *(_path("key"), _path("more")),
                    *(
                        _query("word"),
                        _query("tags", "array"),
                        _query("deep", "object", style="deepObject"),
                    ),
                    _query("flat", "array", explode=False),
                    _query("fields", "object"),
                    {"name": "json", "in": "query", "content": {"application/json": {}}},
                    {"name": "X-Trace", "in": "header", "schema": {}},
                    {"name": "session", "in": "cookie", "schema": {}},
                ],
                "requestBody": {"content": {"application/json": {"schema": {}}}},
            }
        },
        "/form": {
            "post": {
                "operationId": "form",
                "requestBody": _body(
                    {"properties": {"name": {"type": "string"}, "tags": {"type": "array"}}},
                    "application/x-www-form-urlencoded",
                ),
            }
        },
        "/orders": {
            "get": {"operationId": "listOrders"},
            "post": {
                "operationId": "createOrder",
                "parameters": [{"name": "Idempotency-Key", "in": "header"}],
                "requestBody": _body({"type": "object"}),
            },
        },
        "/answer/{kind}": {
            method: {"operationId": f"{method}_answer", "parameters": [_path("kind")]}
            for method in ("get", "head", "put", "post")
        },
    },
}


class Shop:
    """The state of the API: what it received, and how often."""

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/api"
        self.other = f"http://localhost:{self.port}"
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self.orders: dict[str, Any] = {}
        self.requests: list[Request] = []
        self.fails = 0

    @asynccontextmanager
    async def open(self) -> AsyncIterator["Shop"]:
        methods = ["GET", "HEAD", "PUT", "POST"]
        app = Starlette(
            routes=[
                Route("/api/echo/{rest:path}", self.echo, methods=methods),
                Route("/api/form", self.form, methods=methods),
                Route("/api/orders", self.order, methods=methods),
                Route("/api/answer/{kind}", self.answer, methods=methods),
                Route("/stolen", self.stolen, methods=methods),
            ]
        )
        async with listening(app, self.port):
            yield self

    async def echo(self, request: Request) -> Response:
        """Return what the server received."""
        body = await request.body()
        return JSONResponse(
            {
                "method": request.method,
                "path": request.scope["raw_path"].decode(),
                "query": request.url.query,
                "headers": dict(request.headers),
                "body": body.decode(),
            }
        )

    async def form(self, request: Request) -> Response:
        """Return the fields of a form."""
        body = await request.body()
        return JSONResponse([request.headers["content-type"], body.decode()])

    async def order(self, request: Request) -> Response:
        """Create an order once for each key."""
        if request.method == "GET":
            return JSONResponse(list(self.orders.values()))
        self.orders.setdefault(request.headers["idempotency-key"], await request.json())
        return JSONResponse({"number": len(self.orders)}, 201)

    async def stolen(self, request: Request) -> Response:
        """Stand for another server, to which a redirect leads."""
        self.requests.append(request)
        return JSONResponse("stolen")

    async def answer(self, request: Request) -> Response:
        """Answer in the way that the path names."""
        self.requests.append(request)
        kind = request.path_params["kind"]
        if kind.isdecimal():
            error = {"error": {"message": f"no: {request.headers.get('authorization')}"}}
            headers = {"retry-after": "1"} if kind in {"429", "503"} else {}
            return JSONResponse(error, int(kind), headers)
        if kind == "flaky":
            self.fails += 1
            return JSONResponse({"fails": self.fails}, 503 if self.fails < 3 else 200)
        if kind == "cookie":
            return JSONResponse(request.cookies, headers={"set-cookie": "session=abc; Path=/"})
        while kind == "slow" and not await request.is_disconnected():
            await asyncio.sleep(0.05)
        answers: dict[str, Callable[[], Response]] = {
            "slow": lambda: Response(status_code=204),
            "drip": lambda: StreamingResponse(_drip(), media_type="text/plain"),
            "big": lambda: Response(b"x" * 9_000_000, media_type="text/plain"),
            "bomb": lambda: Response(BOMB, headers={"content-encoding": "gzip"}),
            "cut": lambda: Response(b"x", headers={"content-length": "10"}),
            "invalid": lambda: Response(b"\xff{", media_type="application/json"),
            "picture": lambda: Response(PNG, media_type="image/png"),
            "zip": lambda: Response(b"PK", media_type="application/zip"),
            "nothing": lambda: Response(status_code=204),
            "text": lambda: Response("text", media_type="text/plain; charset=utf-8"),
            "here": lambda: RedirectResponse(f"{self.url}/answer/text", 307),
            "away": lambda: RedirectResponse(f"{self.other}/stolen", 307),
            "loop": lambda: RedirectResponse(f"{self.url}/answer/loop", 307),
            "odd": lambda: Response(status_code=307, headers={"location": "http://["}),
            "file": lambda: RedirectResponse("file:///etc/passwd", 307),
        }
        return answers[kind]()


async def _drip() -> AsyncIterator[bytes]:
    while True:
        yield b"x"
        await asyncio.sleep(0.05)

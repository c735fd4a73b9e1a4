"""A real HTTP API for tests of pipelines: a pet store, with a protected place and an OpenAPI document."""

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from outlast_workers.local.ports import free_port
from outlast_workers.settings import Settings
from outlast_workers.settings_sections.http import HttpSecret, HttpSettings
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from tests.loopback import listening
from tests.stage import staged_settings

USER, PASSWORD = "ann", "canary-31337-petstore"
BYTES_OF_BIG = 200_000

_PET_ID = {"name": "petId", "in": "path", "required": True, "schema": {"type": "integer"}}
_STATUS = {"name": "status", "in": "query", "schema": {"type": "string"}}
DOCUMENT: dict[str, Any] = {
    "openapi": "3.0.3",
    "info": {"title": "Pets", "version": "1"},
    "servers": [{"url": "/v2"}],
    "paths": {
        "/pet/findByStatus": {"get": {"operationId": "findPetsByStatus", "parameters": [_STATUS]}},
        "/pet/{petId}": {"get": {"operationId": "getPetById", "parameters": [_PET_ID]}},
        "/pet": {
            "post": {
                "operationId": "addPet",
                "requestBody": {"content": {"application/json": {"schema": {"type": "object"}}}},
            }
        },
    },
}


class PetStore:
    """The state of the API: the requests that it received."""

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self.requests: list[Request] = []
        self.fails = 0

    @asynccontextmanager
    async def open(self) -> AsyncIterator["PetStore"]:
        app = Starlette(
            routes=[
                Route("/openapi.json", self.document),
                Route("/v2/pet/findByStatus", self.find),
                Route("/v2/pet/getPetByName/{name}", self.missing),
                Route("/v2/pet/{pet:int}", self.pet),
                Route("/v2/pet", self.add, methods=["POST", "PUT"]),
                Route("/basic-auth/{user}", self.protected),
                Route("/status/{status:int}", self.status, methods=["GET", "POST"]),
                Route("/flaky", self.flaky, methods=["GET", "POST"]),
                Route("/big", self.big),
                Route("/bytes", self.binary),
                Route("/moved", self.moved),
                Route("/away", self.away),
                Route("/echo", self.echo, methods=["GET", "POST"]),
            ]
        )
        async with listening(app, self.port):
            yield self

    async def document(self, request: Request) -> Response:
        """Return the OpenAPI document."""
        return JSONResponse(DOCUMENT)

    async def find(self, request: Request) -> Response:
        """Return the pets of a status."""
        return JSONResponse([_pet(1, status=request.query_params["status"]), _pet(2)])

    async def pet(self, request: Request) -> Response:
        """Return one pet."""
        return JSONResponse(_pet(request.path_params["pet"]))

    async def add(self, request: Request) -> Response:
        """Add a pet; return it with the key of the call."""
        self.requests.append(request)
        pet = await request.json()
        return JSONResponse({**pet, "key": request.headers.get("idempotency-key")}, 201)

    async def missing(self, request: Request) -> Response:
        """Know no pet by its name."""
        return JSONResponse({"message": f"no pet {request.path_params['name']}"}, 404)

    async def protected(self, request: Request) -> Response:
        """Take one user; send the credentials back, as careless servers do."""
        sent = request.headers.get("authorization", "")
        expected = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        is_known = sent in (f"Basic {expected}", f"Bearer {PASSWORD}")
        return JSONResponse({"authenticated": is_known, "sent": sent}, 200 if is_known else 401)

    async def status(self, request: Request) -> Response:
        """Answer with a status."""
        self.requests.append(request)
        return JSONResponse({"error": {"message": "as told"}}, request.path_params["status"])

    async def flaky(self, request: Request) -> Response:
        """Fail once."""
        self.requests.append(request)
        self.fails += 1
        return JSONResponse({"fails": self.fails}, 503 if self.fails < 2 else 200)

    async def big(self, request: Request) -> Response:
        """Return much text."""
        size = int(request.query_params.get("size", BYTES_OF_BIG))
        return JSONResponse({"text": "x" * size})

    async def binary(self, request: Request) -> Response:
        """Return bytes."""
        return Response(b"\x00\xff", media_type="application/octet-stream")

    async def moved(self, request: Request) -> Response:
        """Redirect to a pet."""
        return RedirectResponse(f"{self.url}/v2/pet/7", 302)

    async def away(self, request: Request) -> Response:
        """Redirect to the same server by another name."""
        return RedirectResponse(f"http://localhost:{self.port}/v2/pet/7", 302)

    async def echo(self, request: Request) -> Response:
        """Return what arrived."""
        body = (await request.body()).decode()
        headers = dict(request.headers)
        return JSONResponse({"query": request.url.query, "headers": headers, "body": body})


def _pet(number: int, **fields: Any) -> dict[str, Any]:
    return {"id": number, "name": f"pet {number}", "status": "available", **fields}


def settings_for(store: PetStore, *, cached: int = 1000, has_secrets: bool = False) -> Settings:
    """Return settings that allow calls to the store, with secrets of the environment."""
    secrets = {
        name: HttpSecret(value=f"env:PETSTORE_{name.upper()}", hosts=(store.url,))
        for name in (("login", "token") if has_secrets else ())
    }
    http = HttpSettings(hosts=(store.url,), secrets=secrets)
    return staged_settings(cached=cached).model_copy(update={"http": http})

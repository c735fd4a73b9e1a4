"""A fake of AWS Secrets Manager: GetSecretValue, asked by AWS's own client.

The protocol is AWS's JSON 1.1: the action is in the header `X-Amz-Target`, and an unknown secret gives a
ResourceNotFoundException (API reference of Secrets Manager). Signatures are not checked.
"""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from outlast_workers.local.ports import HOST, free_port
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.loopback import listening


class FakeSecrets:
    """Secrets by ARN. Change `values` to rotate them."""

    def __init__(self, **values: str) -> None:
        self.values = values
        self.port = free_port()

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    async def _answer(self, request: Request) -> Response:
        assert request.headers["x-amz-target"] == "secretsmanager.GetSecretValue"
        arn = json.loads(await request.body())["SecretId"]
        if arn not in self.values:
            body = {"__type": "ResourceNotFoundException", "message": "no such secret"}
            return JSONResponse(body, 400)
        return JSONResponse({"ARN": arn, "Name": arn, "SecretString": self.values[arn]})

    @asynccontextmanager
    async def listening(self) -> AsyncIterator["FakeSecrets"]:
        app = Starlette(routes=[Route("/", self._answer, methods=["POST"])])
        async with listening(app, self.port):
            yield self

"""`/hub/answers`: where workers push the text of answers while models write it."""

import hmac
from http import HTTPStatus

from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from outlast.contracts.events import HeldPieces, PushedPieces
from outlast.errors import BadRequest
from outlast.validation import explain
from outlast_workers.gateway.access import is_local, token_digest
from outlast_workers.gateway.front import Front
from outlast_workers.gateway.http_messages import read_body

MAX_PUSH_BYTES = 4_000_000
"""Bytes of one request of a worker: more than the texts of one can have as JSON."""


class HubApi:
    """The handler of `/hub`. It has a token of its own, because workers belong to no tenant."""

    def __init__(self, front: Front) -> None:
        self._front = front

    def routes(self) -> list[Route]:
        """Return the routes of the interface."""
        return [Route("/hub/answers", self.push, methods=["POST"])]

    async def push(self, request: Request) -> Response:
        """Take the pieces of answers, and return what the hub has of each."""
        self._admit(request)
        body = await read_body(request, MAX_PUSH_BYTES)
        try:
            pushed = PushedPieces.model_validate_json(body)
        except ValidationError as error:
            raise BadRequest(explain(error, PushedPieces)) from None
        held = HeldPieces(held=tuple(map(self._front.hub.put, pushed.pieces)))
        return Response(held.model_dump_json(), media_type="application/json")

    def _admit(self, request: Request) -> None:
        settings = self._front.settings
        if settings.events_token is None:
            if settings.has_principals or not is_local(request.headers, settings.origins):
                raise HTTPException(
                    HTTPStatus.FORBIDDEN, "workers cannot push answers: set gateway.events_token"
                )
            return
        _, _, token = request.headers.get("authorization", "").partition(" ")
        expected = token_digest(settings.events_token.get_secret_value())
        if not hmac.compare_digest(token_digest(token.strip()), expected):
            raise HTTPException(
                HTTPStatus.UNAUTHORIZED,
                "events.token of the worker is not the gateway.events_token",
                {"www-authenticate": "Bearer"},
            )

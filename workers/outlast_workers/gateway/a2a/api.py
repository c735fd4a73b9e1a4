"""`/a2a/AGENT`: agents for other agents, with A2A 1.0 over JSON-RPC.

| method | does |
| --- | --- |
| `SendMessage`, `SendStreamingMessage` | begins a task, or continues one; waits for it, or streams it |
| `GetTask`, `ListTasks` | returns a task, or the newest tasks |
| `SubscribeToTask` | streams a task that has not ended |
| `CancelTask` | cancels the run of a task |

The agent card is at `/a2a/AGENT/.well-known/agent-card.json`.
"""

import hashlib
from collections.abc import AsyncGenerator
from contextlib import aclosing
from http import HTTPStatus
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from outlast.errors import OutlastError
from outlast.text.json_text import to_json
from outlast_workers.gateway.a2a.card import PROTOCOL_VERSION, agent_card
from outlast_workers.gateway.a2a.errors import (
    A2aError,
    error_json,
    is_of_http,
    unsupported,
)
from outlast_workers.gateway.a2a.params import MAX_A2A_ID
from outlast_workers.gateway.a2a.session import Session
from outlast_workers.gateway.a2a.tasks import Json
from outlast_workers.gateway.front import Front
from outlast_workers.gateway.http_messages import event_stream, read_json, sse
from outlast_workers.gateway.tenant_runs import Forbidden
from outlast_workers.web import JsonLine

CARD_AGE_S = 300
"""Seconds for which a client may keep an agent card."""

JSON_TYPES = ("application/json", "application/a2a+json")

PUSH_METHODS = frozenset(
    f"{verb}TaskPushNotificationConfig{end}"
    for verb, end in (("Create", ""), ("Get", ""), ("List", "s"), ("Delete", ""))
)


class A2aApi:
    """The handlers of `/a2a`."""

    def __init__(self, front: Front) -> None:
        self._front = front

    def routes(self) -> list[Route]:
        """Return the routes of the interface."""
        return [
            Route("/a2a/{agent}", self.call, methods=["POST"]),
            # Clients that join a path to the URL of the card do not follow a redirect of a POST.
            Route("/a2a/{agent}/", self.call, methods=["POST"]),
            Route("/a2a/{agent}/.well-known/agent-card.json", self.card),
        ]

    async def card(self, request: Request) -> Response:
        """Return the agent card."""
        name = request.path_params["agent"]
        if name not in self._front.agents:
            raise HTTPException(HTTPStatus.NOT_FOUND, f"agent: {name[:80]!r} is not served")
        url = f"{self._base_url(request)}/a2a/{name}"
        needs_token = self._front.settings.has_principals
        card = agent_card(name, self._front.agents[name], url, needs_token=needs_token)
        digest = hashlib.sha256(to_json(card).encode()).hexdigest()[:32]
        headers = {"cache-control": f"private, max-age={CARD_AGE_S}", "etag": f'"{digest}"'}
        return JsonLine(card, headers=headers)

    def _base_url(self, request: Request) -> str:
        """Return the URL of the gateway as clients know it: of the settings, or of their request."""
        if self._front.settings.public_url is not None:
            return self._front.settings.public_url
        is_tls = request.headers.get("x-forwarded-proto") == "https"
        base = request.base_url.replace(scheme="https") if is_tls else request.base_url
        return str(base).rstrip("/")

    async def call(self, request: Request) -> Response:
        """Answer one request of JSON-RPC."""
        identifier: Any = None
        try:
            _check_type(request)
            body = await read_json(request, self._front.media.max_body_bytes)
            identifier = _identifier(body)
            method, params = _checked(body, request)
            session = Session(self._front, self._front.runs(request), request.path_params["agent"])
            if method in session.streams:
                events = await session.streams[method](params)
                return event_stream(_responses(identifier, events))
            result = await session.calls[method](params)
            return JsonLine({"jsonrpc": "2.0", "id": identifier, "result": result})
        except Forbidden:
            raise
        except HTTPException as error:
            if is_of_http(error):
                raise
            return JsonLine(error_json(identifier, error))
        except OutlastError as error:
            return JsonLine(error_json(identifier, error))


def _identifier(body: dict[str, Any]) -> str | int | float | None:
    """Return the id of a request. Raises `A2aError` for one that JSON-RPC does not know."""
    identifier = body.get("id")
    if isinstance(identifier, bool) or not isinstance(identifier, str | int | float | None):
        raise A2aError(-32600, "INVALID_REQUEST", "id: must be text or a number")
    if (
        isinstance(identifier, str) and len(identifier) > MAX_A2A_ID
    ):  # each event of a stream has it
        raise A2aError(-32600, "INVALID_REQUEST", f"id: has more than {MAX_A2A_ID:,} characters")
    return identifier


def _check_type(request: Request) -> None:
    kind = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if kind not in JSON_TYPES:
        raise A2aError(
            -32005,
            "CONTENT_TYPE_NOT_SUPPORTED",
            f"Content-Type: {kind[:80]!r} must be one of {', '.join(JSON_TYPES)}",
        )


def _checked(body: dict[str, Any], request: Request) -> tuple[str, dict[str, Any]]:
    method, params = body.get("method"), body.get("params", {})
    if body.get("jsonrpc") != "2.0" or not isinstance(method, str) or not isinstance(params, dict):
        raise A2aError(
            -32600, "INVALID_REQUEST", "a request has jsonrpc '2.0', a method, and params"
        )
    wanted = request.headers.get("a2a-version") or request.query_params.get("A2A-Version", "")
    if wanted.split(".")[:2] != PROTOCOL_VERSION.split("."):
        raise A2aError(
            -32009,
            "VERSION_NOT_SUPPORTED",
            f"A2A-Version: {wanted[:20] or '0.3'!r} is not supported; send {PROTOCOL_VERSION!r}",
        )
    if method in PUSH_METHODS:
        raise A2aError(
            -32003, "PUSH_NOTIFICATION_NOT_SUPPORTED", "push notifications are not supported"
        )
    if method == "GetExtendedAgentCard":
        raise unsupported("there is no extended agent card")
    if method not in Session.METHODS:
        raise A2aError(-32601, "METHOD_NOT_FOUND", f"method: {method[:80]!r} does not exist")
    return method, params


async def _responses(
    identifier: Any, events: AsyncGenerator[Json | None, None]
) -> AsyncGenerator[str, None]:
    try:
        async with aclosing(events):
            async for event in events:
                result = {"jsonrpc": "2.0", "id": identifier, "result": event}
                yield ": waiting\n\n" if event is None else sse(result)
    except OutlastError as error:
        yield sse(error_json(identifier, error))

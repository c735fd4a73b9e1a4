"""Transports to MCP servers: bounded HTTP responses, and what the SDK's client leaves out.

The client of `mcp` 2.3.0 differs from MCP 2026-07-28 in two points, which are mended here on the way:

- It declares that it answers questions only with a callback that answers them at once. Runs answer later.
- It rejects a result without a `resultType`, which clients must read as `complete`.
"""

import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from http import HTTPStatus
from typing import Any, Self

import httpx2
from mcp_types import (
    CLIENT_CAPABILITIES_META_KEY,
    JSONRPCError,
    JSONRPCRequest,
    JSONRPCResponse,
)

from outlast_activities.providers.bounded_body import ACCEPT_ENCODING, BoundedBody, bound_body
from outlast_activities.providers.streams import AnswerAborted
from outlast_activities.telemetry.requests import TRACE_HOSTS, trace_fields, trace_request

KEPT_FOR_S = 2.0
"""Seconds that an unused HTTP connection is kept: fewer than servers do, which often close it after 5 s. A
request that meets the end of its connection would lose all calls."""

MAX_SERVER_REQUESTS = 50
"""Requests of a server, such as pings, that are answered at the same time. Further ones are left out: each
would be a task."""

NOT_SENT = -32_050
"""The code of JSON-RPC for a call that a server refused by its HTTP status, before it read the call."""

SESSION_ENDED = -32_051
"""The code of JSON-RPC for a call in a session that an older server has forgotten: it was not made."""

_REFUSALS = {
    HTTPStatus.UNAUTHORIZED: "correct its credentials",
    HTTPStatus.FORBIDDEN: "correct its credentials",
    HTTPStatus.TOO_MANY_REQUESTS: "it gets too many requests",
}
"""Statuses that say that a call was not made, with what to do."""

_ANSWERS: dict[str, Any] = {"elicitation": {"form": {}, "url": {}}}
"""The capability of clients that answer questions. Older sessions do not declare it: their questions come
in the middle of a call, and no run can answer them there."""


def http_client(secret: str | None, read_s: float) -> httpx2.AsyncClient:
    """Return the HTTP client of one server. `secret` is its bearer token."""
    return httpx2.AsyncClient(
        headers={"accept-encoding": ACCEPT_ENCODING}
        | ({"authorization": f"Bearer {secret}"} if secret else {}),
        timeout=httpx2.Timeout(10, read=read_s),
        limits=httpx2.Limits(keepalive_expiry=KEPT_FOR_S),
        event_hooks={"request": [trace_request], "response": [_read_response]},
        follow_redirects=False,  # credentials must not reach another host
    )


@asynccontextmanager
async def run_transport(
    transport: AbstractAsyncContextManager[Any], host: str | None
) -> AsyncGenerator[tuple[Any, Any], None]:
    """Yield the streams of a transport of the SDK, for a client whose runs answer questions later.

    `host` is that of the server, or None for a program on this machine, which always gets the trace.
    """
    async with transport as (answers, requests):
        sent = _Requests(requests, host)
        yield _Answers(answers, sent), sent


class _Stream:
    """A stream of messages that the SDK opens and closes."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def __aenter__(self) -> Self:
        await self._stream.__aenter__()
        return self

    async def __aexit__(self, *error: Any) -> bool | None:
        closed: bool | None = await self._stream.__aexit__(*error)
        return closed


class _Requests(_Stream):
    """The stream of requests. It declares the capability in those of newer sessions.

    The SDK adds the trace to `_meta`. It is removed for a host that may not get it.
    """

    def __init__(self, stream: Any, host: str | None) -> None:
        super().__init__(stream)
        self._host = host
        self.is_modern = False
        self.open_answers = 0
        """Requests of the server that have no answer yet."""

    async def send(self, item: Any) -> None:
        message = item.message
        try:
            await self._send(item, message)
        finally:
            if isinstance(message, JSONRPCResponse | JSONRPCError):
                self.open_answers -= 1

    async def _send(self, item: Any, message: Any) -> None:
        if isinstance(message, JSONRPCRequest):
            meta = (message.params or {}).get("_meta") or {}
            declared = meta.get(CLIENT_CAPABILITIES_META_KEY)
            self.is_modern = isinstance(declared, dict)
            if isinstance(declared, dict):
                declared.update(_ANSWERS)
            if self._host is not None and self._host not in TRACE_HOSTS:
                for name in trace_fields():
                    meta.pop(name, None)
        await self._stream.send(item)


class _Answers(_Stream):
    """The stream of responses. It completes results of newer sessions without a `resultType`.

    A server can also send requests. There is a bound of those without an answer.
    """

    def __init__(self, stream: Any, requests: _Requests) -> None:
        super().__init__(stream)
        self._requests = requests

    @property
    def last_context(self) -> Any:
        """The context of the sender, which the SDK reads."""
        return getattr(self._stream, "last_context", None)

    async def receive(self) -> Any:
        return await self._next(self._stream.receive)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        return await self._next(self._stream.__anext__)

    async def _next(self, receive: Callable[[], Awaitable[Any]]) -> Any:
        while True:  # ends with the stream, which raises
            item = await receive()
            if not isinstance(getattr(item, "message", None), JSONRPCRequest):
                return self._completed(item)
            if self._requests.open_answers < MAX_SERVER_REQUESTS:
                self._requests.open_answers += 1
                return item

    def _completed(self, item: Any) -> Any:
        message = getattr(item, "message", None)  # or an exception of the transport
        if self._requests.is_modern and isinstance(message, JSONRPCResponse):
            message.result.setdefault("resultType", "complete")
        return item


class _Bounded(BoundedBody):
    """The bytes of a response. The SDK expects errors of `httpx2`."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for piece in super().__aiter__():
                yield piece
        except AnswerAborted as error:
            raise httpx2.ReadError(f"the server {error}") from None


async def _read_response(response: httpx2.Response) -> None:
    """Bound a response. An error that is not one of JSON-RPC becomes one, with its HTTP status in words."""
    status = response.status_code
    is_json = response.headers.get("content-type", "").startswith("application/json")
    if status == HTTPStatus.NOT_FOUND and "mcp-session-id" in response.request.headers:
        await _replace(response, SESSION_ENDED, "the server has forgotten the session")
    elif status in _REFUSALS:
        await _replace(response, NOT_SENT, f"HTTP {status}: {_REFUSALS[HTTPStatus(status)]}")
    elif status >= HTTPStatus.INTERNAL_SERVER_ERROR and not is_json:
        await _replace(response, -32_603, f"HTTP {status}")
    else:
        bound_body(response, _Bounded)


async def _replace(response: httpx2.Response, code: int, message: str) -> None:
    await response.stream.aclose()  # type: ignore[union-attr]  # an async client has async streams
    error = {"jsonrpc": "2.0", "id": None, "error": {"code": code, "message": message}}
    body = json.dumps(error).encode()
    for name in ("content-encoding", "transfer-encoding"):
        response.headers.pop(name, None)
    response.headers |= {"content-type": "application/json", "content-length": str(len(body))}
    response.stream = httpx2.ByteStream(body)

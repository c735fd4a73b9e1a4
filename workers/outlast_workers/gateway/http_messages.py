"""Requests and answers of the gateway: bounded JSON bodies, errors in one line, event streams."""

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping
from http import HTTPStatus
from typing import Any

from pydantic import JsonValue
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse

from outlast.errors import BadRequest, NoAnswer, OutlastError, RunNotFound, Unavailable
from outlast.text.json_text import from_json
from outlast_workers.gateway.run_feeds import TooManyFeeds
from outlast_workers.gateway.tenant_runs import Forbidden, KeyReused
from outlast_workers.web import JsonLine

MAX_BODY_BYTES = 1_000_000
"""Bytes of the body of a request: as many as a run takes as its input."""

MAX_STREAM_S = 3_600.0
"""Seconds of one event stream. Its client connects again, and goes on after the last event."""

BEAT_S = 15.0
"""Seconds between two comments of a quiet event stream: proxies close silent connections."""

STREAM_HEADERS = {
    "cache-control": "no-store",
    # Proxies such as nginx would hold events back.
    "x-accel-buffering": "no",
}

_ascii_json = json.JSONEncoder(separators=(",", ":")).encode
"""Encodes JSON in ASCII, which has no line breaks. `json.dumps` would make an encoder for each event."""

_STATUSES: tuple[tuple[type[OutlastError], HTTPStatus], ...] = (
    (Forbidden, HTTPStatus.FORBIDDEN),
    (KeyReused, HTTPStatus.CONFLICT),
    (RunNotFound, HTTPStatus.NOT_FOUND),
    (BadRequest, HTTPStatus.BAD_REQUEST),
    (TooManyFeeds, HTTPStatus.SERVICE_UNAVAILABLE),
    (NoAnswer, HTTPStatus.GATEWAY_TIMEOUT),
    (Unavailable, HTTPStatus.SERVICE_UNAVAILABLE),
)


def status_of(error: OutlastError) -> HTTPStatus:
    """Return the HTTP status of an error."""
    found = (status for kind, status in _STATUSES if isinstance(error, kind))
    return next(found, HTTPStatus.INTERNAL_SERVER_ERROR)


def error_body(status: int, message: str) -> dict[str, Any]:
    """Return an error as JSON: `{"error": {"message": …}}`, the form that clients of OpenAI read, too."""
    kind = "server_error" if status >= HTTPStatus.INTERNAL_SERVER_ERROR else "invalid_request_error"
    return {"error": {"message": message, "type": kind, "param": None, "code": None}}


def error_response(status: int, message: str, headers: Mapping[str, str] | None = None) -> JsonLine:
    """Return an error as JSON."""
    return JsonLine(error_body(status, message), status, headers=dict(headers or {}))


def error_at(
    path: str, status: int, message: str, headers: Mapping[str, str] | None = None
) -> Response:
    """Return an error in the form of the interface at a path.

    Clients of the AI SDK take the whole body as the message.
    """
    if path.startswith("/ai/"):
        return PlainTextResponse(message, status, headers=dict(headers or {}))
    return error_response(status, message, headers)


async def read_body(request: Request, most: int) -> bytes:
    """Return the body of a request. Raises `HTTPException` if it is too large, or not complete.

    The bytes are counted as they arrive, because a client can send any `Content-Length`.
    """
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > most:
                raise HTTPException(
                    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                    f"the body has more than {most:,} bytes",
                )
    except ClientDisconnect:
        raise HTTPException(HTTPStatus.BAD_REQUEST, "the body is not complete") from None
    return bytes(body)


async def read_json(request: Request, most: int = MAX_BODY_BYTES) -> dict[str, Any]:
    """Return the JSON object of a request's body. Raises `HTTPException` if it is too large, or none."""
    body = await read_body(request, most)
    try:
        # A body with images is large, and other requests do not wait for it.
        is_large = len(body) > MAX_BODY_BYTES
        value = await asyncio.to_thread(from_json, body) if is_large else from_json(body)
    except ValueError as error:
        raise HTTPException(HTTPStatus.BAD_REQUEST, f"the body is not JSON ({error})") from None
    if not isinstance(value, dict):
        raise HTTPException(HTTPStatus.BAD_REQUEST, "the body is not a JSON object")
    return value


def sse(data: JsonValue, *, event: str = "", id: str = "") -> str:  # noqa: A002 SSE's word
    """Return one event of an event stream."""
    lines = [f"event: {event}"] if event else []
    lines += [f"id: {id}"] if id else []
    return "\n".join([*lines, f"data: {_ascii_json(data)}", "", ""])


def event_stream(
    events: AsyncGenerator[str, None], headers: Mapping[str, str] | None = None
) -> StreamingResponse:
    """Return a response that streams events for at most `MAX_STREAM_S`."""
    return StreamingResponse(
        _bounded(events),
        media_type="text/event-stream",
        headers={**STREAM_HEADERS, **(headers or {})},
    )


async def _bounded(events: AsyncGenerator[str, None]) -> AsyncGenerator[str, None]:
    ends = asyncio.get_running_loop().time() + MAX_STREAM_S
    try:
        async for event in events:
            yield event
            if asyncio.get_running_loop().time() > ends:
                return
    finally:
        await events.aclose()

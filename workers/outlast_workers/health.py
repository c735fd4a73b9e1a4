"""A tiny HTTP endpoint that says how a process is; it answers on the loop whose health it tells."""

import asyncio
import errno
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from http import HTTPStatus
from typing import Any

from outlast.errors import NotReady

REQUEST_TIMEOUT_S = 2.0
"""Probes are small and near; what is slower than this holds a connection for nothing."""

MAX_REQUEST_BYTES = 8_192


@dataclass(frozen=True)
class Health:
    """How a process is now. `model_reachable` is None where the process asks no model.

    `polling` is False while it waits for its model server at the start.
    """

    roles: tuple[str, ...]
    queues: dict[str, str]
    temporal_reachable: bool
    model_reachable: bool | None = None
    polling: bool = True
    draining: bool = False

    @property
    def is_ready(self) -> bool:
        """Whether the process takes new work and can do it."""
        reachable = self.temporal_reachable and self.model_reachable is not False
        return reachable and self.polling and not self.draining


@asynccontextmanager
async def serve_health(
    state: Callable[[], Health], *, host: str = "127.0.0.1", port: int
) -> AsyncIterator[int]:
    """Serve `/healthz` while the block runs, and yield the port (`port` 0: any free one).

    `/healthz` answers 200 where `state()` is ready and else 503, with the state in JSON: it is for
    readiness. `/livez` answers 200 as long as the event loop turns, and is for liveness: to restart a
    worker because Temporal or a model is away helps nobody. Raises `NotReady` when the port is taken.
    """
    started = time.monotonic()

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT_S):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(_response(head, state, uptime_s=time.monotonic() - started))
                await writer.drain()
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # A probe that went away, or no HTTP at all: there is nobody to tell.
        finally:
            writer.close()

    try:
        server = await asyncio.start_server(respond, host, port, limit=MAX_REQUEST_BYTES)
    except OSError as error:
        raise NotReady(_cannot_listen(error, host, port)) from None
    async with server:
        yield server.sockets[0].getsockname()[1]


def _cannot_listen(error: OSError, host: str, port: int) -> str:
    hint = "set health.port (OUTLAST_HEALTH__PORT) to a free one"
    if error.errno == errno.EADDRINUSE:
        return f"port {port} is taken: stop what listens on it, or {hint}"
    return f"the health endpoint cannot listen on {host}:{port} ({error.strerror or error}): {hint}"


def _response(head: bytes, state: Callable[[], Health], *, uptime_s: float) -> bytes:
    method, _, rest = head.decode("latin-1").partition(" ")
    path = rest.partition(" ")[0].partition("?")[0]
    status, body = _answer(method, path, state, uptime_s=uptime_s)
    content = json.dumps(body).encode()
    lines = (
        f"HTTP/1.1 {status.value} {status.phrase}",
        "Content-Type: application/json",
        f"Content-Length: {len(content)}",
        "Connection: close",
    )
    return "\r\n".join((*lines, "", "")).encode() + (b"" if method == "HEAD" else content)


def _answer(
    method: str, path: str, state: Callable[[], Health], *, uptime_s: float
) -> tuple[HTTPStatus, dict[str, Any]]:
    if method not in {"GET", "HEAD"}:
        return HTTPStatus.METHOD_NOT_ALLOWED, {"error": "only GET and HEAD"}
    if path == "/livez":
        return HTTPStatus.OK, {"status": "alive", "uptime_s": round(uptime_s, 1)}
    if path != "/healthz":
        return HTTPStatus.NOT_FOUND, {"error": "only /healthz and /livez"}
    health = state()
    status = HTTPStatus.OK if health.is_ready else HTTPStatus.SERVICE_UNAVAILABLE
    word = "ready" if health.is_ready else "not_ready"
    return status, {"status": word, **asdict(health), "uptime_s": round(uptime_s, 1)}

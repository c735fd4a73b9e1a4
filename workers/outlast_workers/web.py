"""HTTP servers for Starlette applications: the health endpoint, the demand service, the decision page.

Anybody who reaches a port can open connections and send half a request. So each server bounds the number of
connections, the size of a request's head, and the time that a connection may take for a request. A client
can also read nothing, or send requests without reading the answers. So that time has a bound, too.
"""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import uvicorn
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from outlast.errors import NotReady

MAX_CONNECTIONS = 500
"""Open connections of a server that sets no other number. Further ones are closed at once."""

MAX_HEAD_BYTES = 16_384
"""Bytes of the line and the headers of a request."""

REQUEST_TIMEOUT_S = 10.0
"""How long a connection may take to send a whole request."""

IDLE_TIMEOUT_S = 5
"""How long a connection may stay open without a request."""

READ_TIMEOUT_S = 30.0
"""How long a client may leave its answer unread, once the buffers between it and the server are full."""


class JsonLine(JSONResponse):
    """A response with JSON that ends with a line break, so that terminals and `jq` show it as a line."""

    def render(self, content: object) -> bytes:
        """Return the bytes of the body."""
        return super().render(content) + b"\n"


class BoundedConnection(H11Protocol):
    """A connection of uvicorn that ends if its client does not send a request, or read, in time."""

    max_connections = MAX_CONNECTIONS
    _timer: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn
        """Start the time for the first request, or close the connection if there are too many."""
        super().connection_made(transport)
        if len(self.connections) > self.max_connections:
            transport.abort()
            return
        self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the time."""
        if self._timer is not None:
            self._timer.cancel()
        self._stop_unread()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Start the time in which the client must read: the buffers are full."""
        super().pause_writing()
        self._stop_unread()
        self._unread = self.loop.call_later(READ_TIMEOUT_S, self.transport.abort)

    def resume_writing(self) -> None:
        """Stop that time: the client has read."""
        super().resume_writing()
        self._stop_unread()

    def _stop_unread(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def on_response_complete(self) -> None:
        """Start the time for the next request."""
        self._start_timer()
        super().on_response_complete()

    def _start_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.loop.call_later(REQUEST_TIMEOUT_S, self._expire)

    def _expire(self) -> None:
        cycle = self.cycle
        is_handled = cycle is not None and not cycle.more_body and not cycle.response_complete
        if not is_handled:
            self.transport.abort()


class WithHeaders:
    """Adds headers to each response of an application, also to errors and redirects."""

    def __init__(self, app: ASGIApp, headers: Mapping[str, str]) -> None:
        self._app = app
        self._headers = headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, send_with_headers)


def open_listener(host: str, port: int, *, name: str, key: str) -> socket.socket:
    """Return a listening socket; raises `NotReady` with the setting's `key` if the port is unavailable."""
    try:
        listener = socket.create_server((host, port), backlog=128)
    except OSError as error:
        variable = f"OUTLAST_{key.replace('.', '__').upper()}"
        # create_server appends the address to the reason.
        reason = (error.strerror or str(error)).partition(" (while")[0]
        raise NotReady(
            f"{name} cannot listen on {host}:{port} ({reason}): set {key} "
            f"({variable}) to a free port"
        ) from None
    # Connections inherit this. asyncio sets it only for sockets that name their protocol, and this one does
    # not. Without it, the system holds events, and ends of responses, back for up to 40 ms.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


async def serve(
    app: ASGIApp,
    listener: socket.socket,
    *,
    stop: asyncio.Event,
    tls: ssl.SSLContext | None = None,
    max_connections: int | None = None,
) -> None:
    """Serve until `stop` is set, then complete the requests in flight. With `tls`, serve HTTPS."""
    # No access log, because links may be secrets.
    config = uvicorn.Config(
        app,
        http=_connections(max_connections or MAX_CONNECTIONS),
        ws="none",
        log_config=None,
        # A warning for each invalid request would let clients fill the log.
        log_level="error",
        access_log=False,
        lifespan="off",
        server_header=False,
        h11_max_incomplete_event_size=MAX_HEAD_BYTES,
        timeout_keep_alive=IDLE_TIMEOUT_S,
    )
    config.load()
    config.ssl = tls
    server = uvicorn.Server(config)
    # Not serve(), which installs signal handlers of its own.
    serving = asyncio.create_task(server._serve([listener]))
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait([serving, stopping], return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
        server.should_exit = True
    await serving


def _connections(most: int) -> type[BoundedConnection]:
    """Return a protocol whose server has at most so many connections: uvicorn takes only a class."""

    class Connection(BoundedConnection):
        max_connections = most

    return Connection


@asynccontextmanager
async def serve_in_background(app: Starlette, listener: socket.socket) -> AsyncIterator[None]:
    """Serve while the block runs."""
    stop = asyncio.Event()
    serving = asyncio.create_task(serve(app, listener, stop=stop))
    try:
        yield
    finally:
        stop.set()
        await serving

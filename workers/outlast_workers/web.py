"""HTTP servers for Starlette applications: the health endpoint, the demand service, the decision page."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from starlette.applications import Starlette

from outlast.errors import NotReady


def open_listener(host: str, port: int, *, name: str, key: str) -> socket.socket:
    """Return a listening socket; raises `NotReady` with the setting's `key` if the port is unavailable."""
    try:
        return socket.create_server((host, port), backlog=128)
    except OSError as error:
        variable = f"OUTLAST_{key.replace('.', '__').upper()}"
        # create_server appends the address to the reason.
        reason = (error.strerror or str(error)).partition(" (while")[0]
        raise NotReady(
            f"{name} cannot listen on {host}:{port} ({reason}): set {key} "
            f"({variable}) to a free port"
        ) from None


async def serve(app: Starlette, listener: socket.socket, *, stop: asyncio.Event) -> None:
    """Serve until `stop` is set, then complete the requests in flight."""
    # No access log, because links may be secrets.
    server = uvicorn.Server(
        uvicorn.Config(app, log_config=None, log_level="warning", access_log=False, lifespan="off")
    )
    # Not serve(), which installs signal handlers of its own.
    serving = asyncio.create_task(server._serve([listener]))
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait([serving, stopping], return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
        server.should_exit = True
    await serving


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

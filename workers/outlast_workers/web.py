"""Serving a Starlette application on a port, until the process is told to stop."""

import asyncio
import socket

import uvicorn
from starlette.applications import Starlette

from outlast.errors import NotReady


def listening(host: str, port: int, *, what: str, key: str) -> socket.socket:
    """Return a socket that listens; raises `NotReady`, naming the setting, where it cannot."""
    try:
        return socket.create_server((host, port), backlog=128)
    except OSError as error:
        variable = f"OUTLAST_{key.replace('.', '__').upper()}"
        raise NotReady(
            f"{what} cannot listen on {host}:{port} ({error.strerror or error}): set {key} "
            f"({variable}) to a free one"
        ) from None


async def serve(app: Starlette, listener: socket.socket, *, stop: asyncio.Event) -> None:
    """Serve until `stop` is set, and then what was being served."""
    # No access log: links may be secrets.
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, lifespan="off"))
    # Not serve(), which takes the signals for itself.
    serving = asyncio.create_task(server._serve([listener]))
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait([serving, stopping], return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
        server.should_exit = True
    await serving

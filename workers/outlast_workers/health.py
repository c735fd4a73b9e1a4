"""The health endpoint of a worker process. It runs on the event loop whose health it reports."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from http import HTTPStatus

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from outlast_workers.web import JsonLine, open_listener, serve_in_background


@dataclass(frozen=True)
class Health:
    """The health of a process. `model_reachable` is None if the process has no model server.

    `polling` is False while the process waits for its model server at the start.
    """

    roles: tuple[str, ...]
    queues: dict[str, str]
    temporal_reachable: bool
    model_reachable: bool | None = None
    polling: bool = True
    draining: bool = False

    @property
    def is_ready(self) -> bool:
        """Whether the process accepts new tasks and can run them."""
        reachable = self.temporal_reachable and self.model_reachable is not False
        return reachable and self.polling and not self.draining


@asynccontextmanager
async def serve_health(
    current: Callable[[], Health], *, host: str = "127.0.0.1", port: int
) -> AsyncIterator[int]:
    """Serve `/healthz` and `/livez` while the block runs, and yield the port (`port` 0: any free one).

    `/healthz` is for readiness: it answers 200 if `current()` is ready, else 503, with the health as JSON.
    `/livez` is for liveness: it answers 200 while the event loop runs. A restart of the worker does not
    help when Temporal or a model server is down. Raises `NotReady` if the port is not available.
    """
    listener = open_listener(host, port, name="the health endpoint", key="health.port")
    async with serve_in_background(health_app(current), listener):
        yield listener.getsockname()[1]


def health_app(current: Callable[[], Health]) -> Starlette:
    """Return the application: `/healthz` and `/livez`."""
    started_at = time.monotonic()

    def uptime_s() -> float:
        return round(time.monotonic() - started_at, 1)

    async def ready(_: Request) -> Response:
        health = current()
        status = HTTPStatus.OK if health.is_ready else HTTPStatus.SERVICE_UNAVAILABLE
        word = "ready" if health.is_ready else "not_ready"
        return JsonLine({"status": word, **asdict(health), "uptime_s": uptime_s()}, status)

    async def alive(_: Request) -> Response:
        return JsonLine({"status": "alive", "uptime_s": uptime_s()})

    return Starlette(
        routes=[Route("/healthz", ready), Route("/livez", alive)],
        exception_handlers={HTTPException: _error},
    )


async def _error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 it is registered for no other
    return JsonLine({"error": error.detail}, error.status_code, error.headers)

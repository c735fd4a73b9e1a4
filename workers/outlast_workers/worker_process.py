"""One worker process: it connects, polls until it is stopped, drains and ends."""

import asyncio
import gc
import random
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
    contextmanager,
    nullcontext,
)
from dataclasses import replace
from datetime import timedelta

import structlog
from outlast_activities.generation.answer_streams import AnswerStreams
from temporalio.client import Client
from temporalio.service import RPCError

from outlast_workers.catalog import load_catalog
from outlast_workers.connection import connect, ensure_search_attributes
from outlast_workers.mcp_catalog import with_mcp_tools
from outlast_workers.model_servers import ModelServers, open_model_servers
from outlast_workers.settings import Settings
from outlast_workers.start_warnings import warn_at_start
from outlast_workers.task_queues import build_workers, polled_queues, run_workers, tool_runner
from outlast_workers.telemetry import Telemetry, core_runtime, start_telemetry

CHECK_INTERVAL_S = 5.0
"""How often a process checks Temporal and its model servers for its health endpoint."""

LIFE_JITTER = 0.1
"""Share of `max_life_s` by which a life may be shorter, so that workers that started together end apart."""

log = structlog.get_logger("outlast.worker")


async def run_process(
    settings: Settings,
    *,
    stop: asyncio.Event,
    address: str | None = None,
    ready: Callable[[], None] = lambda: None,
) -> None:
    """Serve until `stop` is set, then drain. Raises `NotReady` if the process cannot start.

    `address` is the address of a Temporal server that this process started itself. The user's Temporal
    profile does not apply to that server. `ready` is called when the workers start to poll.
    """
    settings.versioning.require_build_id()
    telemetry = start_telemetry(settings)
    try:
        catalog = load_catalog(settings.agents)
        warn_at_start(settings, catalog)
        async with open_model_servers(settings) as servers, AsyncExitStack() as opened:
            catalog = await opened.enter_async_context(with_mcp_tools(catalog))
            client = await _connect(settings, telemetry, address)
            has_search_attributes = await ensure_search_attributes(client)
            started = asyncio.Event()
            async with _serve_health(settings, client, servers, started, stop):
                endpoints = await servers.endpoints(stop) if servers else {}
                if stop.is_set():
                    return
                runner = await opened.enter_async_context(tool_runner(settings, catalog))
                answers = await opened.enter_async_context(_answer_streams(settings))
                queues = polled_queues(
                    client,
                    settings,
                    catalog,
                    runner=runner,
                    endpoints=endpoints,
                    has_search_attributes=has_search_attributes,
                    answers=answers,
                )
                workers = build_workers(client, settings, queues)
                log.info(
                    "worker.started",
                    roles=list(settings.roles),
                    task_queues=[worker.task_queue for worker in workers],
                    agents=sorted(catalog.agents),
                    tools=sorted(catalog.tools),
                )
                # What is loaded by now stays, and later collections need not search it for garbage.
                gc.freeze()
                started.set()
                ready()
                with _bounded_life(settings.max_life_s, stop):
                    await run_workers(workers, stop, drain_s=settings.drain_s)
                log.info("worker.stopped")
    finally:
        telemetry.shutdown()


@contextmanager
def _bounded_life(max_life_s: float | None, stop: asyncio.Event) -> Iterator[None]:
    """Set `stop` when the life of the process is over. A trickle of tasks would keep it busy forever."""
    if max_life_s is None:
        yield
        return
    life_s = max_life_s * random.uniform(1 - LIFE_JITTER, 1)  # noqa: S311 no secret

    def end() -> None:
        log.info("worker.life_over", life_s=round(life_s, 1))
        stop.set()

    timer = asyncio.get_running_loop().call_later(life_s, end)
    try:
        yield
    finally:
        timer.cancel()


def _answer_streams(settings: Settings) -> AbstractAsyncContextManager[AnswerStreams | None]:
    """Push the text of answers to the gateways of the settings while the block runs, if there are any."""
    if not settings.events.urls:
        return nullcontext()
    # Imported here, because a worker without gateways pushes no text.
    from outlast_workers.answer_publisher import answer_publisher  # noqa: PLC0415

    return answer_publisher(settings)


async def _connect(settings: Settings, telemetry: Telemetry, address: str | None) -> Client:
    return await connect(
        address=address,
        use_profile=address is None,
        plugins=[settings.payloads.plugin(), *telemetry.plugins],
        runtime=core_runtime(settings),
    )


@asynccontextmanager
async def _serve_health(
    settings: Settings,
    client: Client,
    servers: ModelServers | None,
    started: asyncio.Event,
    stop: asyncio.Event,
) -> AsyncIterator[None]:
    if settings.health.port is None:
        yield
        return
    # Imported here, because a worker without this endpoint needs no web server.
    from outlast_workers.health import Health, serve_health  # noqa: PLC0415

    health = Health(
        roles=settings.roles,
        queues={role: settings.queue(role) for role in settings.roles},
        temporal_reachable=True,
    )

    async def check() -> None:
        nonlocal health
        while True:  # ends with the process
            health = replace(
                health,
                temporal_reachable=await _is_reachable(client),
                model_reachable=None if servers is None else await servers.are_reachable(),
            )
            await asyncio.sleep(CHECK_INTERVAL_S)

    def current() -> Health:
        return replace(health, polling=started.is_set(), draining=stop.is_set())

    checking = asyncio.create_task(check())
    try:
        async with serve_health(current, host=settings.health.host, port=settings.health.port):
            yield
    finally:
        checking.cancel()


async def _is_reachable(client: Client) -> bool:
    try:
        return await client.service_client.check_health(timeout=timedelta(seconds=CHECK_INTERVAL_S))
    except RPCError:
        return False

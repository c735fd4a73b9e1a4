"""One worker process, from its settings to its drained end."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta

import structlog
from temporalio.client import Client
from temporalio.service import RPCError

from outlast.plugin import OutlastPlugin
from outlast_workers.connection import connect, ensure_search_attributes
from outlast_workers.health import Health, serve_health
from outlast_workers.model_servers import ModelServers, opened
from outlast_workers.serving import build_workers, load_catalog, serve
from outlast_workers.settings import Settings
from outlast_workers.telemetry import Telemetry, core_runtime, start_telemetry

LOOK_EVERY_S = 5.0
"""How often a process looks whether Temporal and its model server are there, for its health endpoint."""

log = structlog.get_logger("outlast.worker")


async def run_process(
    settings: Settings,
    *,
    stop: asyncio.Event,
    address: str | None = None,
    ready: Callable[[], None] = lambda: None,
) -> None:
    """Serve until `stop` is set, then drain. Raises `NotReady` when it cannot start.

    `address` is that of a Temporal server which this process started itself: the user's Temporal
    profile does not apply to it. `ready` is called once the workers poll.
    """
    telemetry = start_telemetry(
        log_format=settings.log_format,
        log_level=settings.log_level,
        otlp_endpoint=settings.otlp_endpoint,
    )
    # Plain functions of tools run in threads: as many as there are slots for tools, not asyncio's few.
    threads = ThreadPoolExecutor(settings.concurrency.tools, thread_name_prefix="tool")
    asyncio.get_running_loop().set_default_executor(threads)
    try:
        catalog = load_catalog(settings.agents)
        async with opened(settings) as servers:
            client = await _connected(settings, telemetry, address)
            has_search_attributes = await ensure_search_attributes(client)
            started = asyncio.Event()
            async with _health_served(settings, client, servers, started, stop):
                endpoints = await servers.probed(stop) if servers else {}
                if stop.is_set():
                    return
                workers = build_workers(
                    client,
                    settings,
                    catalog,
                    endpoints=endpoints,
                    has_search_attributes=has_search_attributes,
                )
                log.info(
                    "worker.started",
                    roles=list(settings.roles),
                    task_queues=[worker.task_queue for worker in workers],
                    agents=sorted(catalog.agents),
                    tools=sorted(catalog.tools),
                )
                started.set()
                ready()
                await serve(workers, stop, drain_s=settings.drain_s)
                log.info("worker.stopped")
    finally:
        telemetry.shutdown()


async def _connected(settings: Settings, telemetry: Telemetry, address: str | None) -> Client:
    return await connect(
        address=address,
        use_profile=address is None,
        plugins=[OutlastPlugin(), *telemetry.plugins],
        runtime=core_runtime(
            settings.log_level,
            log_format=settings.log_format,
            otlp_endpoint=settings.otlp_endpoint,
        ),
    )


@asynccontextmanager
async def _health_served(
    settings: Settings,
    client: Client,
    servers: ModelServers | None,
    started: asyncio.Event,
    stop: asyncio.Event,
) -> AsyncIterator[None]:
    if settings.health.port is None:
        yield
        return
    health = Health(
        roles=settings.roles,
        queues={role: settings.queue(role) for role in settings.roles},
        temporal_reachable=True,
    )

    async def look() -> None:
        nonlocal health
        while True:  # ends with the process
            health = replace(
                health,
                temporal_reachable=await _answers(client),
                model_reachable=None if servers is None else await servers.are_reachable(),
            )
            await asyncio.sleep(LOOK_EVERY_S)

    def state() -> Health:
        return replace(health, polling=started.is_set(), draining=stop.is_set())

    looking = asyncio.create_task(look())
    try:
        async with serve_health(state, host=settings.health.host, port=settings.health.port):
            yield
    finally:
        looking.cancel()


async def _answers(client: Client) -> bool:
    try:
        return await client.service_client.check_health(timeout=timedelta(seconds=LOOK_EVERY_S))
    except RPCError:
        return False


def stop_on_signals(stop: asyncio.Event) -> None:
    """Let SIGTERM and SIGINT set `stop`; a second SIGINT ends the process at once."""
    loop = asyncio.get_running_loop()

    def on_signal(number: signal.Signals) -> None:
        if stop.is_set() and number is signal.SIGINT:
            loop.remove_signal_handler(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
        log.info("worker.draining", signal=number.name)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number)

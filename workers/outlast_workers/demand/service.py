"""`outlast worker demand`: tells scalers how many workers the task queues need."""

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import grpc
import structlog

from outlast.errors import NotReady
from outlast_workers.connection import connect
from outlast_workers.demand.board import Board
from outlast_workers.demand.demand import Target
from outlast_workers.demand.externalscaler import service_of
from outlast_workers.demand.http_api import http_api
from outlast_workers.demand.pods import DeletionCosts, in_cluster
from outlast_workers.demand.reading import TemporalSource
from outlast_workers.demand.scaler import DemandScaler
from outlast_workers.settings import Role, Settings
from outlast_workers.settings_sections import PodSettings
from outlast_workers.telemetry import start_telemetry
from outlast_workers.web import listening, serve

ENDS_WITHIN_S = 2.0
"""How long calls under way may take once the service is told to stop; streams have no other end."""

log = structlog.get_logger("outlast.demand")


def roles_by_queue(settings: Settings) -> dict[str, set[Role]]:
    """Return the task queues that the settings speak of, and the roles that serve them."""
    found: dict[str, set[Role]] = {}
    for role, queue in _queues(settings):
        found.setdefault(queue, set()).add(role)
    return found


def _queues(settings: Settings) -> Iterator[tuple[Role, str]]:
    for role in settings.roles:
        yield role, settings.queue(role)
    routes = settings.step_routes()
    for route in routes.of_generate():
        for leg in route.legs:
            yield "generate", leg.task_queue
    for route in routes.of_tools():
        for leg in route.legs:
            yield "tools", leg.task_queue


def watched(settings: Settings) -> set[Target]:
    """Return what is polled for although nobody has asked yet.

    A queue shows what its versions have too: beside one of them it would be counted twice.
    """
    told = settings.demand
    versions = {Target(one.task_queue, one.deployment_name, one.build_id) for one in told.versions}
    bare = roles_by_queue(settings).keys() - {one.task_queue for one in versions}
    return {*map(Target, bare), *map(Target, told.queues), *versions}


def slots_of(settings: Settings, task_queue: str) -> int:
    """Return how many tasks a worker of a queue takes at once, as far as the settings tell it."""
    told = settings.demand.slots.get(task_queue) or settings.demand.slots.get("*")
    roles = roles_by_queue(settings).get(task_queue, set())
    return told or sum(getattr(settings.concurrency, role) for role in roles) or 1


async def run_demand(settings: Settings, *, stop: asyncio.Event) -> int:
    """Serve until `stop` is set; raises `NotReady` without Temporal or a port."""
    told = settings.demand
    telemetry = start_telemetry(
        log_format=settings.log_format,
        log_level=settings.log_level,
        otlp_endpoint=settings.otlp_endpoint,
    )
    try:
        # The ports first: without them there is nothing to connect for.
        with contextlib.closing(_http_socket(settings)) as http:
            grpc_server = _grpc_server(settings)
            costs = _deletion_costs(told.pods)
            source = TemporalSource(await connect())
            board = Board(source, watched=watched(settings), poll_s=told.poll_s, keep_s=told.keep_s)

            def usual_slots(task_queue: str) -> int:
                return slots_of(settings, task_queue)

            async with (
                _scaling(grpc_server, DemandScaler(board, usual_slots)),
                # Where polling breaks, the process ends and says why.
                asyncio.TaskGroup() as group,
            ):
                tasks = [group.create_task(board.run())]
                if costs is not None:
                    tasks.append(group.create_task(costs.run(board)))
                log.info("demand.started", host=told.host, port=told.port, grpc_port=told.grpc_port)
                await serve(http_api(board, usual_slots), http, stop=stop)
                for task in tasks:
                    task.cancel()
        log.info("demand.stopped")
    finally:
        telemetry.shutdown()
    return 0


def _deletion_costs(told: PodSettings) -> DeletionCosts | None:
    if not told.enabled:
        return None
    return DeletionCosts(in_cluster(told, os.environ), prefix=told.prefix)


def _http_socket(settings: Settings) -> socket.socket:
    told = settings.demand
    return listening(told.host, told.port, what="the demand service", key="demand.port")


def _grpc_server(settings: Settings) -> grpc.aio.Server:
    told = settings.demand
    # Without the option a second process shares the port, and KEDA asks now one and now the other.
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    try:
        server.add_insecure_port(f"{told.host}:{told.grpc_port}")
    except RuntimeError:
        raise NotReady(
            f"the demand service cannot listen on {told.host}:{told.grpc_port}: set "
            "demand.grpc_port (OUTLAST_DEMAND__GRPC_PORT) to a free one"
        ) from None
    return server


@asynccontextmanager
async def _scaling(server: grpc.aio.Server, scaler: DemandScaler) -> AsyncIterator[None]:
    """Serve KEDA's external scaler for the length of a block."""
    server.add_generic_rpc_handlers([service_of(scaler)])
    await server.start()
    try:
        yield
    finally:
        await server.stop(ENDS_WITHIN_S)

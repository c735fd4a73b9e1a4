"""`outlast worker demand`: tells autoscalers how many workers the task queues need."""

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
from outlast_workers.demand.access import RequireToken, Token, grpc_tls, http_tls
from outlast_workers.demand.deletion_costs import DeletionCosts, in_cluster
from outlast_workers.demand.demand_query import Target
from outlast_workers.demand.http_api import http_api
from outlast_workers.demand.keda_protocol import service_handler
from outlast_workers.demand.keda_scaler import DemandScaler
from outlast_workers.demand.open_requests import OpenRequests
from outlast_workers.demand.reading_cache import ReadingCache
from outlast_workers.demand.temporal_source import TemporalSource
from outlast_workers.demand.waiting_runs import WaitingRuns
from outlast_workers.settings import Role, Settings
from outlast_workers.settings_sections.demand import DemandSettings, PodSettings
from outlast_workers.telemetry import start_telemetry
from outlast_workers.web import open_listener, serve

MAX_GRPC_BYTES = 64_000
"""Bytes of a message of KEDA: it holds the parameters of a trigger."""

MAX_GRPC_CALLS = 1_000
"""Calls at once. KEDA keeps one stream open for each trigger."""

LOOPBACK = "127.0.0.1"

GRPC_GRACE_S = 2.0
"""Seconds that gRPC calls in flight may take after a stop. Streams end only by this."""

log = structlog.get_logger("outlast.demand")


def roles_by_queue(settings: Settings) -> dict[str, set[Role]]:
    """Return the task queues that the settings mention, and the roles that serve them."""
    roles: dict[str, set[Role]] = {}
    for role, queue in _queues(settings):
        roles.setdefault(queue, set()).add(role)
    return roles


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


def watched_targets(settings: Settings) -> set[Target]:
    """Return the targets that are polled even without a query.

    A task queue's own numbers include those of its versions. A queue with a watched version is therefore
    not watched by itself, because its tasks would count twice.
    """
    versions = settings.demand.versions
    versioned = {entry.task_queue for entry in versions}
    return {
        *map(Target, roles_by_queue(settings).keys() - versioned),
        *map(Target, settings.demand.queues),
        *(Target(entry.task_queue, entry.deployment_name, entry.build_id) for entry in versions),
    }


def slots_of(settings: Settings, task_queue: str) -> int:
    """Return how many tasks one worker of a queue runs at once, according to the settings."""
    slots = settings.demand.slots
    configured = slots.get(task_queue) or slots.get("*")
    roles = roles_by_queue(settings).get(task_queue, set())
    return configured or sum(getattr(settings.concurrency, role) for role in roles) or 1


async def run_demand(settings: Settings, *, stop: asyncio.Event) -> int:
    """Serve until `stop` is set; raises `NotReady` without Temporal or a port."""
    demand = settings.demand
    telemetry = start_telemetry(settings)

    def default_slots(task_queue: str) -> int:
        return slots_of(settings, task_queue)

    try:
        # The ports first: without them, a connection is useless.
        with contextlib.closing(_http_listener(settings)) as listener:
            tls = http_tls(demand.tls)
            grpc_server = _grpc_server(settings)
            costs = _deletion_costs(demand.pods)
            client = await connect()
            waiting_runs = WaitingRuns(client, settings.audiences)
            open_requests = OpenRequests(client)
            cache = ReadingCache(
                TemporalSource(client),
                watched=watched_targets(settings),
                poll_s=demand.poll_s,
                keep_s=demand.keep_s,
                only_watched=demand.only_watched,
            )
            scaler = DemandScaler(cache, default_slots, _token_of_grpc(demand))
            async with (
                _serve_keda(grpc_server, scaler),
                # An unexpected error of a task ends the process with a traceback.
                asyncio.TaskGroup() as group,
            ):
                polls = (cache.run(), waiting_runs.run(), open_requests.run())
                tasks = [group.create_task(poll) for poll in polls]
                if costs is not None:
                    tasks.append(group.create_task(costs.run(cache)))
                log.info(
                    "demand.started", host=demand.host, port=demand.port, grpc_port=demand.grpc_port
                )
                if demand.token is None and demand.host != LOOPBACK:
                    log.warning(
                        "demand.open", reason="anyone who reaches it is admitted: set demand.token"
                    )
                api = http_api(cache, default_slots, (waiting_runs, open_requests))
                app = RequireToken(api, Token(demand.token))
                await serve(app, listener, stop=stop, tls=tls)
                for task in tasks:
                    task.cancel()
        log.info("demand.stopped")
    finally:
        telemetry.shutdown()
    return 0


def _token_of_grpc(demand: DemandSettings) -> Token:
    """Return the token of gRPC callers. A verified client certificate replaces it."""
    return Token(None if demand.tls.client_ca else demand.token)


def _deletion_costs(settings: PodSettings) -> DeletionCosts | None:
    if not settings.enabled:
        return None
    return DeletionCosts(in_cluster(settings, os.environ), prefix=settings.prefix)


def _http_listener(settings: Settings) -> socket.socket:
    demand = settings.demand
    return open_listener(demand.host, demand.port, name="the demand service", key="demand.port")


def _grpc_server(settings: Settings) -> grpc.aio.Server:
    demand = settings.demand
    # By default, two processes can share a port, and KEDA would reach one or the other.
    server = grpc.aio.server(
        options=[
            ("grpc.so_reuseport", 0),
            ("grpc.max_receive_message_length", MAX_GRPC_BYTES),
            ("grpc.max_concurrent_streams", MAX_GRPC_CALLS),
        ],
        maximum_concurrent_rpcs=MAX_GRPC_CALLS,
    )
    address = f"{demand.host}:{demand.grpc_port}"
    credentials = grpc_tls(demand.tls)
    try:
        if credentials is None:
            server.add_insecure_port(address)
        else:
            server.add_secure_port(address, credentials)
    except RuntimeError:
        raise NotReady(
            f"the demand service cannot listen on {address}: set "
            "demand.grpc_port (OUTLAST_DEMAND__GRPC_PORT) to a free port"
        ) from None
    return server


@asynccontextmanager
async def _serve_keda(server: grpc.aio.Server, scaler: DemandScaler) -> AsyncIterator[None]:
    """Serve KEDA's external scaler while the block runs."""
    server.add_generic_rpc_handlers([service_handler(scaler)])
    await server.start()
    try:
        yield
    finally:
        await server.stop(GRPC_GRACE_S)

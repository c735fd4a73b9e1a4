"""AWS Lambda: each invocation serves one task queue until it is idle, or its time is nearly over.

Temporal's worker controller invokes the function when a task finds no worker. What may outlive an
invocation is made once, at the cold start: settings, agents, logging, the SDK's runtime, and what is known
of the model servers. Each invocation has an event loop of its own, and so connections of its own.
"""

import asyncio
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import structlog
from outlast_activities.generation.attempt import Endpoint
from outlast_activities.providers.probe import ServerFacts
from temporalio.client import Client
from temporalio.common import WorkerDeploymentVersion
from temporalio.contrib.aws.lambda_worker import LambdaWorkerConfig, run_worker
from temporalio.plugin import SimplePlugin
from temporalio.worker import WorkerConfig

from outlast.agents import Catalog
from outlast.errors import NotReady
from outlast.plugin import OutlastPlugin
from outlast_workers.connection import ensure_search_attributes
from outlast_workers.idle import IdleExit
from outlast_workers.model_servers import opened
from outlast_workers.serving import CANCEL_S, load_catalog, queues_of, worker_options
from outlast_workers.settings import Settings
from outlast_workers.settings_sections import VERSION_VARIABLES, ModelSettings
from outlast_workers.telemetry import FLUSH_S, core_runtime, start_telemetry

IDLE_EXIT_S = 5.0
"""Where the settings name no time: two or three cold starts' worth of waiting for the next task."""

SERVER_WAIT_S = 20.0
"""Most seconds that an invocation waits for a model server that is away: the wait is paid for."""

log = structlog.get_logger("outlast.worker")


class LambdaFunction:
    """The function from its cold start on; `serve` is what Lambda calls for each invocation.

    Raises `NotReady` where the settings cannot work there: the roles of a function share one task
    queue, and its worker is versioned.
    """

    def __init__(self, settings: Settings) -> None:
        self._version = _version(settings)
        self._task_queue = _task_queue(settings)
        self._settings = _impatient(settings)
        self._telemetry = start_telemetry(
            log_format=settings.log_format,
            log_level=settings.log_level,
            otlp_endpoint=settings.otlp_endpoint,
        )
        self._catalog = load_catalog(settings.agents)
        self._runtime = core_runtime(
            settings.log_level,
            log_format=settings.log_format,
            otlp_endpoint=settings.otlp_endpoint,
        )
        self._known: dict[str, ServerFacts] = {}
        self._has_search_attributes: bool | None = None
        self._invocations = 0
        self._run = run_worker(self._version, self._configured)

    def serve(self, event: Any, context: Any) -> None:
        """Serve the task queue; returns when there is nothing to do, or no time left to do it in."""
        self._invocations += 1
        with structlog.contextvars.bound_contextvars(request_id=context.aws_request_id):
            try:
                self._run(event, context)
            except NotReady as error:
                log.error("worker.not_ready", reason=str(error))
                raise
            log.info("worker.stopped", left_ms=context.get_remaining_time_in_millis())

    async def _configured(self, config: LambdaWorkerConfig) -> AsyncGenerator[None]:
        settings = self._settings
        threads = _Threads(settings.concurrency.tools, thread_name_prefix="tool")
        asyncio.get_running_loop().set_default_executor(threads)
        if "target_host" not in config.client_connect_config:
            raise NotReady("set TEMPORAL_ADDRESS: a function has no Temporal server beside it")
        config.client_connect_config["plugins"] = [OutlastPlugin(), *self._telemetry.plugins]
        config.client_connect_config["runtime"] = self._runtime
        async with opened(settings, self._known) as servers:
            endpoints = await servers.probed(asyncio.Event()) if servers else {}
            serving = _Serving(
                settings,
                self._catalog,
                endpoints,
                has_search_attributes=await self._can_see(config),
            )
            idle = IdleExit(settings.idle_exit_s or IDLE_EXIT_S)
            config.worker_config["task_queue"] = self._task_queue
            config.worker_config["plugins"] = [serving, idle]
            config.shutdown_deadline_buffer = _buffer(settings)
            config.shutdown_hooks.append(self._telemetry.flush)
            log.info(
                "worker.started",
                roles=list(settings.roles),
                task_queues=[self._task_queue],
                build_id=self._version.build_id,
                is_cold=self._invocations == 1,
            )
            yield

    async def _can_see(self, config: LambdaWorkerConfig) -> bool:
        """Return whether runs may have search attributes, which is looked up once."""
        if self._has_search_attributes is None and "workflows" in self._settings.roles:
            client = await Client.connect(**config.client_connect_config)
            self._has_search_attributes = await ensure_search_attributes(client)
        return bool(self._has_search_attributes)


class _Threads(ThreadPoolExecutor):
    """Threads that an invocation leaves behind: the end of its event loop would wait for a tool's."""

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: ARG002, FBT001, FBT002
        super().shutdown(wait=False, cancel_futures=True)


class _Serving(SimplePlugin):
    """Gives a worker its workflows and activities, which need the client that it was made with."""

    def __init__(
        self,
        settings: Settings,
        catalog: Catalog,
        endpoints: dict[str, Endpoint],
        *,
        has_search_attributes: bool,
    ) -> None:
        super().__init__("outlast.Serving")
        self._settings = settings
        self._catalog = catalog
        self._endpoints = endpoints
        self._has_search_attributes = has_search_attributes

    def configure_worker(self, config: WorkerConfig) -> WorkerConfig:
        (polled,) = queues_of(
            config["client"],  # pyright: ignore[reportTypedDictNotRequiredAccess] a worker has one
            self._settings,
            self._catalog,
            endpoints=self._endpoints,
            has_search_attributes=self._has_search_attributes,
        ).values()
        return {**config, **worker_options(self._settings, polled)}


def _version(settings: Settings) -> WorkerDeploymentVersion:
    name, build_id = settings.versioning.deployment_name, settings.versioning.build_id
    if name is None or build_id is None:
        variables = " and ".join(VERSION_VARIABLES.values())
        raise NotReady(f"set {variables}: the worker controller invokes functions by version")
    return WorkerDeploymentVersion(deployment_name=name, build_id=build_id)


def _task_queue(settings: Settings) -> str:
    queues = {role: settings.queue(role) for role in settings.roles}
    if len(set(queues.values())) > 1:
        told = ", ".join(f"{role} on {queue!r}" for role, queue in queues.items())
        raise NotReady(
            f"a function serves one task queue, and its roles have several ({told}): make a function "
            "for each role (OUTLAST_ROLES), or name one queue for them (OUTLAST_QUEUES__…)"
        )
    return next(iter(queues.values()))


def _impatient(settings: Settings) -> Settings:
    """Bound the wait for model servers, which is paid for here."""

    def bounded(server: ModelSettings) -> ModelSettings:
        return server.model_copy(
            update={"start_within_s": min(server.start_within_s, SERVER_WAIT_S)}
        )

    servers = {name: bounded(server) for name, server in settings.servers.items()}
    return settings.model_copy(update={"model": bounded(settings.model), "servers": servers})


def _buffer(settings: Settings) -> timedelta:
    """Return how long before its end an invocation begins to end: what is in flight is handed back."""
    return timedelta(seconds=settings.drain_s + CANCEL_S + FLUSH_S)

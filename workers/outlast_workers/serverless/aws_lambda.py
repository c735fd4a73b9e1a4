"""AWS Lambda: each invocation polls one task queue until it is idle, or its time is nearly over.

Temporal's worker controller invokes the function when a task finds no worker. The cold start creates what
invocations can share: settings, agents, logging, the SDK's runtime, and the facts about model servers. Each
invocation has its own event loop, and therefore its own connections.
"""

import asyncio
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any

import structlog
from outlast_activities.generation.endpoint import Endpoint
from outlast_activities.tool_runner import CLOSE_WITHIN_S, ToolRunner
from temporalio.client import Client
from temporalio.common import WorkerDeploymentVersion
from temporalio.contrib.aws.lambda_worker import LambdaWorkerConfig, run_worker
from temporalio.plugin import SimplePlugin
from temporalio.worker import WorkerConfig

from outlast.agents.catalog import Catalog
from outlast.errors import NotReady
from outlast.model_server import ServerFacts
from outlast_workers.catalog import load_catalog
from outlast_workers.connection import ensure_search_attributes
from outlast_workers.idle import IdleExit
from outlast_workers.model_servers import open_model_servers
from outlast_workers.serverless.secret_values import SecretVariables
from outlast_workers.settings import Settings, load_settings
from outlast_workers.settings_sections.model_servers import ModelSettings
from outlast_workers.settings_sections.workers import VERSION_VARIABLES
from outlast_workers.task_queues import CANCEL_S, polled_queues, tool_runner, worker_options
from outlast_workers.telemetry import FLUSH_S, core_runtime, start_telemetry

IDLE_EXIT_S = 5.0
"""The default of `idle_exit_s`: as long as two or three cold starts."""

SERVER_WAIT_S = 20.0
"""Maximum wait of an invocation for a model server that is down, because AWS bills the wait."""

log = structlog.get_logger("outlast.worker")


class LambdaFunction:
    """The function, created at the cold start. Lambda calls `serve` for each invocation.

    Raises `NotReady` if the settings do not fit Lambda: the roles of a function must share one task queue,
    and its worker must be versioned.
    """

    def __init__(self, settings: Settings, secrets: SecretVariables | None = None) -> None:
        self._version = _version(settings)
        self._task_queue = _task_queue(settings)
        self._telemetry = start_telemetry(settings)
        self._catalog = load_catalog(settings.agents)
        self._runtime = core_runtime(settings)
        self._has_search_attributes: bool | None = None
        self._invocations = 0
        self._secrets = secrets
        self._apply(settings)

    @classmethod
    def from_environment(cls) -> "LambdaFunction":
        """Return the function of this process. Its secrets are read now, and again at each invocation."""
        secrets = SecretVariables()
        secrets.refresh()
        return cls(load_settings(), secrets)

    def _apply(self, settings: Settings) -> None:
        self._settings = _limit_server_wait(settings)
        self._known: dict[str, ServerFacts] = {}
        # It reads the connection settings, and thus Temporal's key, from the variables.
        self._run = run_worker(self._version, self._configure)

    def serve(self, event: Any, context: Any) -> None:
        """Poll the task queue until the worker is idle, or until the invocation's time is nearly over."""
        self._invocations += 1
        if self._secrets is not None and self._secrets.refresh():
            log.info("secrets.changed")
            self._apply(load_settings())
        with structlog.contextvars.bound_contextvars(request_id=context.aws_request_id):
            try:
                self._run(event, context)
            except NotReady as error:
                log.error("worker.not_ready", reason=str(error))
                raise
            log.info("worker.stopped", left_ms=context.get_remaining_time_in_millis())

    async def _configure(self, config: LambdaWorkerConfig) -> AsyncGenerator[None]:
        settings = self._settings
        threads = _Threads(settings.concurrency.tools, thread_name_prefix="tool")
        asyncio.get_running_loop().set_default_executor(threads)
        if "target_host" not in config.client_connect_config:
            raise NotReady("set TEMPORAL_ADDRESS: a Lambda function has no local Temporal server")
        config.client_connect_config["plugins"] = [
            self._settings.payloads.plugin(),
            *self._telemetry.plugins,
        ]
        config.client_connect_config["runtime"] = self._runtime
        async with (
            open_model_servers(settings, self._known) as servers,
            AsyncExitStack() as opened,
        ):
            endpoints = await servers.endpoints(asyncio.Event()) if servers else {}
            runner = await opened.enter_async_context(tool_runner(settings, self._catalog))
            tasks = _TasksPlugin(
                settings,
                self._catalog,
                runner,
                endpoints,
                has_search_attributes=await self._ensure_search_attributes(config),
            )
            idle = IdleExit(settings.idle_exit_s or IDLE_EXIT_S)
            config.worker_config["task_queue"] = self._task_queue
            config.worker_config["plugins"] = [tasks, idle]
            config.shutdown_deadline_buffer = _shutdown_buffer(settings)
            config.shutdown_hooks.append(self._telemetry.flush)
            log.info(
                "worker.started",
                roles=list(settings.roles),
                task_queues=[self._task_queue],
                build_id=self._version.build_id,
                is_cold=self._invocations == 1,
            )
            yield

    async def _ensure_search_attributes(self, config: LambdaWorkerConfig) -> bool:
        """Return whether runs can have search attributes. Only the first invocation checks."""
        if self._has_search_attributes is None and "workflows" in self._settings.roles:
            client = await Client.connect(**config.client_connect_config)
            self._has_search_attributes = await ensure_search_attributes(client)
        return bool(self._has_search_attributes)


class _Threads(ThreadPoolExecutor):
    """Threads that an invocation abandons, because the end of its event loop would wait for them."""

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: ARG002, FBT001, FBT002
        super().shutdown(wait=False, cancel_futures=True)


class _TasksPlugin(SimplePlugin):
    """Adds the workflows and activities to the worker. They need the worker's own client."""

    def __init__(
        self,
        settings: Settings,
        catalog: Catalog,
        runner: ToolRunner,
        endpoints: dict[str, Endpoint],
        *,
        has_search_attributes: bool,
    ) -> None:
        super().__init__("outlast.Tasks")
        self._settings = settings
        self._catalog = catalog
        self._runner = runner
        self._endpoints = endpoints
        self._has_search_attributes = has_search_attributes

    def configure_worker(self, config: WorkerConfig) -> WorkerConfig:
        (polled,) = polled_queues(
            config["client"],  # pyright: ignore[reportTypedDictNotRequiredAccess] a worker has one
            self._settings,
            self._catalog,
            runner=self._runner,
            endpoints=self._endpoints,
            has_search_attributes=self._has_search_attributes,
        ).values()
        return {**config, **worker_options(self._settings, polled)}


def _version(settings: Settings) -> WorkerDeploymentVersion:
    name, build_id = settings.versioning.deployment_name, settings.versioning.build_id
    if name is None or build_id is None:
        variables = " and ".join(VERSION_VARIABLES.values())
        raise NotReady(f"set {variables}: the worker controller invokes each version's function")
    return WorkerDeploymentVersion(deployment_name=name, build_id=build_id)


def _task_queue(settings: Settings) -> str:
    queues = {role: settings.queue(role) for role in settings.roles}
    if len(set(queues.values())) > 1:
        listed = ", ".join(f"{role} on {queue!r}" for role, queue in queues.items())
        raise NotReady(
            f"a function polls one task queue, but its roles have several ({listed}): deploy one function "
            "for each role (OUTLAST_ROLES), or give the roles the same queue (OUTLAST_QUEUES__…)"
        )
    return next(iter(queues.values()))


def _limit_server_wait(settings: Settings) -> Settings:
    """Return the settings with a shorter wait for model servers, because AWS bills the wait."""

    def bounded(server: ModelSettings) -> ModelSettings:
        return server.model_copy(
            update={"start_within_s": min(server.start_within_s, SERVER_WAIT_S)}
        )

    servers = {name: bounded(server) for name, server in settings.servers.items()}
    return settings.model_copy(update={"model": bounded(settings.model), "servers": servers})


def _shutdown_buffer(settings: Settings) -> timedelta:
    """Return how long before its end an invocation starts to drain and hand back activities."""
    return timedelta(seconds=settings.drain_s + CANCEL_S + CLOSE_WITHIN_S + FLUSH_S)

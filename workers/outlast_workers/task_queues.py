"""The task queues of one process, and the Temporal workers that poll them: one worker for each queue."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import structlog
from outlast_activities.chain import ChainActivities
from outlast_activities.generation.activity import ModelActivities
from outlast_activities.generation.answer_streams import AnswerStreams
from outlast_activities.generation.endpoint import Endpoint
from outlast_activities.generation.prompt_media import PromptMedia
from outlast_activities.generation.transcript_cache import TranscriptCache
from outlast_activities.hook_calls import HookCalls
from outlast_activities.http_calls.tools import http_tools
from outlast_activities.instructions import InstructionWriter
from outlast_activities.leg_checks import KnownServer, LegChecks
from outlast_activities.local_calls import unregistered
from outlast_activities.notify import NotifyActivities
from outlast_activities.output_check import OutputActivities
from outlast_activities.policies.local_tools import LocalTools
from outlast_activities.policies.schema_checker import SchemaChecker
from outlast_activities.policies.spec_policy import SpecPolicy
from outlast_activities.providers.registry import adapter_of
from outlast_activities.resolve import ResolveActivities
from outlast_activities.run_queries import WorkflowQueries
from outlast_activities.telemetry.metrics import ActivityMetrics
from outlast_activities.telemetry.spans import ActivitySpans
from outlast_activities.tool_activity import tool_activity
from outlast_activities.tool_media import ToolMedia
from outlast_activities.tool_runner import ToolRunner
from temporalio.client import Client
from temporalio.common import VersioningBehavior, WorkerDeploymentVersion
from temporalio.worker import Worker, WorkerConfig, WorkerDeploymentConfig

from outlast.agents.catalog import Catalog
from outlast.agents.dependencies import Dependency
from outlast.errors import DefinitionError, NotReady
from outlast.media.store import MediaStore, media_store
from outlast.version import __version__
from outlast_workers.api_clients import api_clients, pipeline_client
from outlast_workers.audiences import channels_by_audience, keys_by_audience, unused_audiences
from outlast_workers.callback.links import link_to
from outlast_workers.idle import IdleExit
from outlast_workers.settings import Settings
from outlast_workers.settings_sections.model_servers import ModelSettings, server_options

STICKY_TIMEOUT = timedelta(seconds=2)
"""How long a workflow task or a query waits for the worker that has its run in memory.

Then any worker takes it, and replays the run. The SDK's 10 s delay the recovery of a lost worker."""

CANCEL_S = 5.0
"""Seconds that activities have to end after their cancellation."""

log = structlog.get_logger("outlast.worker")


@dataclass
class PolledQueue:
    """The workflows and activities that one task queue is polled for. Roles can share a queue."""

    workflows: list[type] = field(default_factory=list)
    activities: list[Callable[..., Any]] = field(default_factory=list)
    slots: int = 0


def build_workers(
    client: Client, settings: Settings, queues: Mapping[str, PolledQueue]
) -> list[Worker]:
    """Return one worker for each of the `polled_queues`."""
    plugins = [IdleExit(settings.idle_exit_s)] if settings.idle_exit_s else []
    workers = []
    for name, polled in queues.items():
        options = worker_options(settings, polled)
        options |= {"client": client, "task_queue": name, "plugins": plugins}
        workers.append(Worker(**options))
    return workers


def tool_runner(settings: Settings, catalog: Catalog) -> ToolRunner:
    """Return what runs the tools of this process, a context manager that opens their dependencies.

    Raises `NotReady` for a tool that needs dependencies which no agent here has.
    """
    runs_tools, runs_checks = "tools" in settings.roles, "workflows" in settings.roles
    dependencies: dict[str, Dependency[Any]] = {}
    if runs_tools:
        try:
            catalog.check_dependencies()
        except DefinitionError as error:
            raise NotReady(f"--agents: {error}") from error
        dependencies = {
            **catalog.dependencies,
            **api_clients(catalog.tools.values()),
            **pipeline_client(settings.http),
        }
    return ToolRunner(
        threads=settings.concurrency.tools,
        dependencies=dependencies,
        agent_dependencies=catalog.agent_dependencies if runs_checks else {},
    )


def polled_queues(
    client: Client,
    settings: Settings,
    catalog: Catalog,
    *,
    runner: ToolRunner,
    endpoints: Mapping[str, Endpoint],
    has_search_attributes: bool,
    answers: AnswerStreams | None = None,
) -> dict[str, PolledQueue]:
    """Return the polled queues of this process by name; raises `NotReady` if there are none.

    `runner` runs the code of tools. The role `generate` calls the models of `endpoints`. The text of
    their answers goes to `answers`.
    """
    transcripts = TranscriptCache(
        WorkflowQueries(client), max_bytes=settings.transcript_cache_bytes
    )
    store = _media_store(client, settings)
    hooks = HookCalls(catalog.hooks, runner)
    queues: dict[str, PolledQueue] = {}
    metrics = ActivityMetrics(for_prometheus=settings.metrics.port is not None)
    spans = ActivitySpans(records_content=settings.trace_content, metrics=metrics)

    def add(queue: str, activities: Sequence[Callable[..., Any]], slots: int) -> PolledQueue:
        polled = queues.setdefault(queue, PolledQueue())
        polled.activities += activities
        polled.slots += slots
        return polled

    if "workflows" in settings.roles:
        # Imported here, because a worker of tools or models alone runs no workflows.
        from outlast_workflows.agent import AgentWorkflow  # noqa: PLC0415
        from outlast_workflows.pipelines.workflow import PipelineWorkflow  # noqa: PLC0415

        activities = _orchestration_activities(
            client, settings, catalog, runner, spans, has_search_attributes=has_search_attributes
        )
        queue = add(settings.queue("workflows"), activities, settings.concurrency.workflows)
        queue.workflows += (AgentWorkflow, PipelineWorkflow)
    if "generate" in settings.roles and endpoints:
        model = ModelActivities(
            endpoints,
            SchemaChecker(),
            transcripts,
            max_concurrent=settings.concurrency.generate,
            spans=spans,
            media=PromptMedia(store, settings.media.url_hosts),
            answers=answers,
            hooks=hooks,
        )
        add(settings.queue("generate"), [model.generate], settings.concurrency.generate)
    # A worker that polls the queue of tools anyway explains why it makes no HTTP calls.
    is_polled = catalog.tools or settings.http.hosts or settings.queue("tools") in queues
    if "tools" in settings.roles and is_polled:
        keys = keys_by_audience(settings.audiences)
        media = ToolMedia(store)
        tools = [
            tool_activity(tool, transcripts, runner, keys, spans, media, hooks)
            for tool in (*catalog.tools.values(), *http_tools())
        ]
        add(settings.queue("tools"), tools, settings.concurrency.tools)
    if not queues:
        raise NotReady(
            "no task queue to poll: name modules with --agents, or add roles with --roles"
        )
    return queues


def _orchestration_activities(
    client: Client,
    settings: Settings,
    catalog: Catalog,
    runner: ToolRunner,
    spans: ActivitySpans,
    *,
    has_search_attributes: bool,
) -> list[Callable[..., Any]]:
    """Return the activities of the role `workflows`: agents, notices and the origin of runs."""
    channels = channels_by_audience(settings.audiences)
    if unused := unused_audiences(settings.audiences, catalog):
        log.warning("audiences.unused", audiences=unused, reason="no tool here uses them")
    notify = NotifyActivities(
        WorkflowQueries(client),
        channels,
        ui_url=settings.ui_url,
        link_to=link_to(settings.callback),
        spans=spans,
    )
    resolve = ResolveActivities(
        catalog,
        routes=settings.step_routes(),
        instructions=InstructionWriter(client, runner),
        channels={name: len(listed) for name, listed in channels.items()},
        keys=keys_by_audience(settings.audiences),
        has_search_attributes=has_search_attributes,
        specs=SpecPolicy(**dict(settings.specs)),
        local=_local_tools(settings, catalog),
        legs=_leg_checks(settings),
    )
    output = OutputActivities(catalog, runner)
    return [
        resolve.resolve_agent,
        output.check_output,
        notify.notify,
        ChainActivities(client).check_chain,
        unregistered,
    ]


def _media_store(client: Client, settings: Settings) -> MediaStore | None:
    if settings.media.store is None:
        return None
    return media_store(settings.media.store, client.data_converter.payload_codec)


def _leg_checks(settings: Settings) -> LegChecks:
    """Return the checks of legs against the model servers in the settings."""
    return LegChecks(
        {name: _known_server(server) for name, server in settings.servers.items()},
        default=_known_server(settings.model) if settings.model.url else None,
        task_queue=settings.queue("generate"),
    )


def _known_server(server: ModelSettings) -> KnownServer:
    return KnownServer(server_options(server), adapter_of(server.api).rules, server.way)


def _local_tools(settings: Settings, catalog: Catalog) -> LocalTools:
    """Return the tools that the worker of this process's runs serves too."""
    queue = settings.queue("workflows")
    is_served = "tools" in settings.roles and settings.queue("tools") == queue
    names = catalog.tools if settings.tools.local and is_served else ()
    return LocalTools(task_queue=queue, names=frozenset(names))


def worker_options(settings: Settings, polled: PolledQueue) -> WorkerConfig:
    """Return the options of the `Worker` for a task queue."""
    options = WorkerConfig(
        workflows=polled.workflows,
        activities=polled.activities,
        max_concurrent_activities=polled.slots,
        max_concurrent_local_activities=settings.concurrency.tools,
        max_concurrent_workflow_tasks=settings.concurrency.workflows,
        max_cached_workflows=settings.concurrency.cached_workflows,
        sticky_queue_schedule_to_start_timeout=STICKY_TIMEOUT,
        graceful_shutdown_timeout=timedelta(seconds=settings.drain_s),
    )
    deployment = _deployment(settings)
    if deployment is not None:
        return options | {"deployment_config": deployment}
    # Without a name, the SDK computes one from the code of all modules, which takes 0.1 s of a start.
    return options | {"build_id": f"outlast-{__version__}"}


def _deployment(settings: Settings) -> WorkerDeploymentConfig | None:
    name, build_id = settings.versioning.deployment_name, settings.versioning.build_id
    if name is None or build_id is None:
        return None
    return WorkerDeploymentConfig(
        version=WorkerDeploymentVersion(deployment_name=name, build_id=build_id),
        use_worker_versioning=True,
        default_versioning_behavior=VersioningBehavior.PINNED,
    )


async def run_workers(workers: Sequence[Worker], stop: asyncio.Event, *, drain_s: float) -> None:
    """Poll until `stop` is set, then drain: activities in flight get `drain_s` to end.

    Activities that ignore their cancellation are abandoned. Raises the error of a worker that failed.
    """
    running = [asyncio.create_task(worker.run()) for worker in workers]
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait([*running, stopping], return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
        ending = [asyncio.create_task(worker.shutdown()) for worker in workers]
        _, late = await asyncio.wait(ending, timeout=drain_s + CANCEL_S)
    if late:
        log.warning("worker.abandoned", reason="activities ignore their cancellation")
        return
    await asyncio.gather(*ending, *running)

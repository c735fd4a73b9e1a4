"""Serving: the Temporal workers of one process, one for each task queue that its roles poll."""

import asyncio
import importlib
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import structlog
from outlast_activities.generation.activity import ModelActivities
from outlast_activities.generation.attempt import Endpoint
from outlast_activities.generation.transcript_cache import Transcripts
from outlast_activities.notify import NotifyActivities
from outlast_activities.policies.schema_checker import SchemaChecker
from outlast_activities.resolve import ResolveActivities
from outlast_activities.run_queries import WorkflowSource
from outlast_activities.tool_activity import tool_activity
from outlast_workflows.agent import AgentWorkflow
from temporalio.client import Client
from temporalio.common import VersioningBehavior, WorkerDeploymentVersion
from temporalio.worker import Worker, WorkerConfig, WorkerDeploymentConfig

from outlast.agents import Catalog
from outlast.errors import DefinitionError, NotReady
from outlast_workers.audiences import channels_of, link_to, unasked
from outlast_workers.idle import IdleExit
from outlast_workers.settings import Settings

CANCEL_S = 5.0
"""How long activities have to end once they are cancelled."""

log = structlog.get_logger("outlast.worker")


def load_catalog(modules: Iterable[str]) -> Catalog:
    """Import the modules and collect their agents and tools; raises `NotReady` in one line."""
    loaded = []
    for name in modules:
        try:
            module = importlib.import_module(name)
            found = Catalog.of([module])
            if not found.agents and not found.tools:
                raise NotReady(f"--agents {name}: the module defines no Agent and no @tool")
            loaded.append(module)
        except ModuleNotFoundError as error:
            raise NotReady(
                f"--agents {name}: no module {error.name!r} on {sys.path[0] or '.'}"
            ) from error
        except DefinitionError as error:
            raise NotReady(f"--agents {name}: {error}") from error
    try:
        return Catalog.of(loaded)
    except DefinitionError as error:
        raise NotReady(f"--agents: {error}") from error


@dataclass
class Queue:
    """What one task queue is polled for: roles may share one."""

    workflows: list[type] = field(default_factory=list)
    activities: list[Callable[..., Any]] = field(default_factory=list)
    slots: int = 0


def build_workers(
    client: Client,
    settings: Settings,
    catalog: Catalog,
    *,
    endpoints: Mapping[str, Endpoint],
    has_search_attributes: bool,
) -> list[Worker]:
    """Return the workers of this process; the role `generate` asks the `endpoints`."""
    queues = queues_of(
        client, settings, catalog, endpoints=endpoints, has_search_attributes=has_search_attributes
    )
    plugins = [IdleExit(settings.idle_exit_s)] if settings.idle_exit_s else []
    workers = []
    for name, polled in queues.items():
        options = worker_options(settings, polled)
        options |= {"client": client, "task_queue": name, "plugins": plugins}
        workers.append(Worker(**options))
    return workers


def queues_of(
    client: Client,
    settings: Settings,
    catalog: Catalog,
    *,
    endpoints: Mapping[str, Endpoint],
    has_search_attributes: bool,
) -> dict[str, Queue]:
    """Return what each task queue of this process is polled for; raises `NotReady` where it is nothing."""
    transcripts = Transcripts(WorkflowSource(client), max_bytes=settings.transcript_cache_bytes)
    queues: dict[str, Queue] = {}

    def add(queue: str, activities: Sequence[Callable[..., Any]], slots: int) -> Queue:
        polled = queues.setdefault(queue, Queue())
        polled.activities += activities
        polled.slots += slots
        return polled

    if "workflows" in settings.roles:
        source = WorkflowSource(client)
        channels = channels_of(settings.audiences)
        if others := unasked(settings.audiences, catalog):
            log.warning("audiences.unasked", audiences=others, reason="no tool here asks them")
        notifying = NotifyActivities(
            source, channels, ui_url=settings.ui_url, link_to=link_to(settings)
        )
        resolve = ResolveActivities(
            catalog,
            routes=settings.step_routes(),
            channels={name: len(found) for name, found in channels.items()},
            keys={name: told.keys for name, told in settings.audiences.items() if told.keys},
            has_search_attributes=has_search_attributes,
        )
        slots = settings.concurrency.workflows
        add(
            settings.queue("workflows"), [resolve.resolve_agent, notifying.notify], slots
        ).workflows.append(AgentWorkflow)
    if "generate" in settings.roles and endpoints:
        asking = ModelActivities(
            endpoints,
            SchemaChecker(),
            transcripts,
            max_concurrent=settings.concurrency.generate,
        )
        add(settings.queue("generate"), [asking.generate], settings.concurrency.generate)
    if "tools" in settings.roles and catalog.tools:
        tools = [tool_activity(tool, transcripts) for tool in catalog.tools.values()]
        add(settings.queue("tools"), tools, settings.concurrency.tools)
    if not queues:
        raise NotReady("there is nothing to serve: name modules with --agents, or more roles")
    return queues


def worker_options(settings: Settings, polled: Queue) -> WorkerConfig:
    """Return the options of a `Worker` that polls a task queue."""
    return WorkerConfig(
        workflows=polled.workflows,
        activities=polled.activities,
        max_concurrent_activities=polled.slots,
        max_concurrent_workflow_tasks=settings.concurrency.workflows,
        max_cached_workflows=settings.concurrency.cached_workflows,
        graceful_shutdown_timeout=timedelta(seconds=settings.drain_s),
        deployment_config=_deployment(settings),
    )


def _deployment(settings: Settings) -> WorkerDeploymentConfig | None:
    name, build_id = settings.versioning.deployment_name, settings.versioning.build_id
    if name is None or build_id is None:
        return None
    return WorkerDeploymentConfig(
        version=WorkerDeploymentVersion(deployment_name=name, build_id=build_id),
        use_worker_versioning=True,
        default_versioning_behavior=VersioningBehavior.PINNED,
    )


async def serve(workers: Sequence[Worker], stop: asyncio.Event, *, drain_s: float) -> None:
    """Poll until `stop` is set, then drain: activities in flight get `drain_s` to end.

    Those that ignore their cancellation are left behind. Raises what ended a worker by itself.
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
        log.warning("worker.abandoned", reason="activities ignore that they are cancelled")
        return
    await asyncio.gather(*ending, *running)

"""A stage for workflow tests: real workers on a real server, a scripted model, and a replay at the end."""

import asyncio
import json
import threading
import types
import uuid
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from outlast_activities.generation.activity import DEFAULT_SERVER
from outlast_activities.generation.endpoint import Endpoint
from outlast_workers.answer_publisher import answer_publisher
from outlast_workers.settings import Settings
from outlast_workers.settings_sections.workers import (
    ConcurrencySettings,
    QueuesSettings,
    RoutesSettings,
)
from outlast_workers.task_queues import build_workers, polled_queues, run_workers, tool_runner
from outlast_workflows.agent import AgentWorkflow
from outlast_workflows.pipelines import execution as _loaded  # noqa: F401 on a busy machine, too slow in a task
from outlast_workflows.pipelines.workflow import PipelineWorkflow
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client as TemporalClient
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer

import outlast
from outlast import Hooks
from outlast.agents.agent import Agent
from outlast.agents.catalog import Catalog
from outlast.agents.tools import Tool
from outlast.client.client import Client
from outlast.client.runs import Run
from outlast.contracts.agents import Leg, Route
from outlast.contracts.human import PendingRequest
from outlast.model_server import ModelServer
from outlast.temporal.plugin import OutlastPlugin


class Stage:
    """Starts runs on task queues of its own and remembers them, so that each can be replayed."""

    def __init__(self, client: TemporalClient, settings: Settings) -> None:
        self.client = Client(client, media_store=settings.media.store)
        self.settings = settings
        self.task_queue = settings.queue("workflows")
        self._started: list[Run] = []

    async def start(self, agent: Any = None, value: Any = "go", **options: Any) -> Run:
        run = await self.client.start(agent, value, task_queue=self.task_queue, **options)
        self._started.append(run)
        return run

    async def run(
        self, agent: Any = None, value: Any = "go", **options: Any
    ) -> outlast.AgentResult:
        return await (await self.start(agent, value, **options)).result()

    def started(self, run_id: str) -> Run:
        """Return a run that somebody started otherwise; it is replayed too."""
        run = self.client.get(run_id)
        self._started.append(run)
        return run

    async def last(self) -> WorkflowHistory:
        return (await self.chain(self._started[-1]))[-1]

    async def chain(self, run: Run) -> list[WorkflowHistory]:
        """Return the histories of a run and of those that it continued as."""
        histories: list[WorkflowHistory] = []
        run_id = run.first_execution_run_id or await self._first_run_id(run)
        while run_id:
            handle = self.client.temporal.get_workflow_handle(run.id, run_id=run_id)
            histories.append(await handle.fetch_history())
            end = histories[-1].events[-1]
            run_id = end.workflow_execution_continued_as_new_event_attributes.new_execution_run_id
        return histories

    async def _first_run_id(self, run: Run) -> str:
        handle = self.client.temporal.get_workflow_handle(run.id)
        described = await handle.describe()
        return str(described.raw_description.workflow_execution_info.first_run_id)

    async def timers(self) -> list[str]:
        """Return the summaries of the timers that the last run set, in their order."""
        return [
            event.user_metadata.summary.data.decode().strip('"')
            for event in (await self.last()).events
            if event.HasField("timer_started_event_attributes")
        ]

    async def activities(self, run: Run | None = None) -> list[str]:
        """Return the types of the activities in a run's history, in the order they were scheduled."""
        return [
            event.activity_task_scheduled_event_attributes.activity_type.name
            for history in await self.chain(run or self._started[-1])
            for event in history.events
            if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED
        ]

    async def local(self, run: Run | None = None) -> list[str]:
        """Return the types of the local activities in a run's history, in the order of their markers."""
        return [
            json.loads(attributes.details["data"].payloads[0].data)["activity_type"]
            for history in await self.chain(run or self._started[-1])
            for event in history.events
            if (attributes := event.marker_recorded_event_attributes).marker_name
            == "core_local_activity"
        ]

    async def replay(self) -> None:
        replayer = Replayer(
            workflows=[AgentWorkflow, PipelineWorkflow],
            plugins=[OutlastPlugin()],
            data_converter=self.client.temporal.data_converter,
        )
        for run in self._started:
            for history in await self.chain(run):
                await replayer.replay_workflow(history)


class Flag:
    """An event between a test and tools, which run on other event loops and in other threads."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def set(self) -> None:
        self._event.set()

    def clear(self) -> None:
        self._event.clear()

    def is_set(self) -> bool:
        return self._event.is_set()

    async def wait(self) -> None:
        while not self._event.is_set():
            await asyncio.sleep(0.02)


def catalog_of(
    agents: Iterable[Agent[Any, Any]],
    tools: Iterable[Tool[Any, ..., Any]] = (),
    hooks: Iterable[Hooks] = (),
) -> Catalog:
    module = types.ModuleType("staged")
    vars(module).update({entry.name: entry for entry in agents})
    vars(module).update({f"{entry.name}-hooks": entry for entry in hooks})
    vars(module).update({entry.name: entry for entry in tools})
    return Catalog.of([module])


def staged_settings(
    *, cached: int, generate: Sequence[Leg] = (), tools: Sequence[Leg] = ()
) -> Settings:
    """Return settings whose queues no other test polls; legs name them with `{own}`."""
    own = uuid.uuid4().hex[:8]

    def route(legs: Sequence[Leg], kind: str) -> Route:
        named = [
            leg.model_copy(update={"task_queue": leg.task_queue.format(own=own)}) for leg in legs
        ]
        return Route(legs=tuple(named) or (Leg(task_queue=f"{kind}-{own}"),))

    return Settings(
        roles=("workflows", "generate", "tools"),
        queues=QueuesSettings(
            workflows=f"agents-{own}", generate=f"generate-{own}", tools=f"tools-{own}"
        ),
        routes=RoutesSettings(generate=route(generate, "generate"), tools=route(tools, "tools")),
        concurrency=ConcurrencySettings(cached_workflows=cached),
        drain_s=0,
    )


def local_settings(*, cached: int = 1000) -> Settings:
    """Return settings with one queue for all roles, as a worker has it by default: tools can be local."""
    own = f"all-{uuid.uuid4().hex[:8]}"
    return Settings(
        queues=QueuesSettings(workflows=own, generate=own, tools=own),
        concurrency=ConcurrencySettings(cached_workflows=cached),
        drain_s=0,
    )


@asynccontextmanager
async def on_stage(
    client: TemporalClient,
    model: ModelServer | Mapping[str, Endpoint],
    agents: Iterable[Agent[Any, Any]] = (),
    *,
    tools: Iterable[Tool[Any, ..., Any]] = (),
    settings: Settings | None = None,
    cached: int = 1000,
    has_search_attributes: bool = True,
    hooks: Iterable[Hooks] = (),
) -> AsyncIterator[Stage]:
    """Serve the agents until the block ends, then replay what ran in it.

    `model` is the only server, or all of them by name.
    """
    settings = settings or staged_settings(cached=cached)
    catalog = catalog_of(agents, tools, hooks)
    endpoints = (
        model
        if isinstance(model, Mapping)
        else {DEFAULT_SERVER: Endpoint(model, settings.model.max_tokens)}
    )
    stage = Stage(client, settings)
    stop = asyncio.Event()
    async with tool_runner(settings, catalog) as runner, answer_publisher(settings) as answers:
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
        serving = asyncio.create_task(run_workers(workers, stop, drain_s=settings.drain_s))
        try:
            yield stage
        finally:
            stop.set()
            await serving
    await stage.replay()


async def pending(run: Run) -> PendingRequest:
    """Return the request that a run waits for."""
    async with asyncio.timeout(60):
        while True:
            try:
                # The test server loses queries of a run that continues as new.
                async with asyncio.timeout(5):
                    requests = await run.pending_requests()
            except Exception:  # noqa: BLE001 the run has not begun
                requests = []
            if requests:
                return requests[0]
            await asyncio.sleep(0.1)

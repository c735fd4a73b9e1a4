"""The bench: a Temporal server, a scripted model, worker processes, and what is read off them."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from temporalio.client import Client, WorkflowExecutionStatus, WorkflowHistoryEventFilterType

from bench.actions import billable_actions
from bench.processes import Measured, temporal_server, worker_process
from bench.scripted_model_server import ScriptedModelServer, turns
from bench.subjects import Handle, Load, Served, Subject

RUN_TIMEOUT_S = 300
"""No run of a benchmark takes longer; one that does has hung, and is reported."""

EVENTS_AN_ACTIVITY = 3
"""Scheduled, started, completed."""

STARTED_AT_ONCE = 50
"""Starts in flight together: more only queue in the client."""


@dataclass(frozen=True)
class HistorySize:
    """What a run has recorded, summed over the runs that it continued as."""

    bytes: int
    events: int
    runs: int


@dataclass(frozen=True)
class Timed:
    """A piece of work: how long it took, and the CPU time of the worker and of the server."""

    wall_s: float
    worker_cpu_s: float
    server_cpu_s: float


class Bench:
    """A server with a scripted model, where the workers of subjects are started and given runs."""

    def __init__(self, client: Client, server: Measured, model: ScriptedModelServer) -> None:
        self.client = client
        self.model = model
        self._server = server
        self._workers: dict[str, Measured] = {}
        self._numbers = itertools.count(1)

    @asynccontextmanager
    async def workers(self, subjects: Sequence[Subject]) -> AsyncIterator[None]:
        """Run the workers of these subjects side by side, each warmed up by one run."""
        async with AsyncExitStack() as stack:
            for subject in subjects:
                await stack.enter_async_context(self.worker(subject))
                await self.run(subject, Load(turns=3))
            yield

    @asynccontextmanager
    async def worker(self, subject: Served) -> AsyncIterator[Measured]:
        """Run the worker of one subject."""
        address = self.client.service_client.config.target_host
        command = subject.worker(self.model.url)
        async with worker_process(subject.name, command, temporal_address=address) as process:
            self._workers[subject.name] = process
            yield process
            process.check()

    async def start(self, subject: Subject, load: Load) -> Handle:
        """Start a run under the script that makes it take the requested number of turns."""
        self.model.script = turns(load.turns, model_s=load.model_s)
        workflow_id = f"{subject.name}-{next(self._numbers)}"
        return await subject.start(self.client, workflow_id, load)

    async def run(self, subject: Subject, load: Load) -> Handle:
        """Start a run and wait until it has done what the load says."""
        handle = await self.start(subject, load)
        await self._ended(subject, load, handle)
        return handle

    async def run_many(self, subject: Subject, load: Load, count: int) -> None:
        """Run `count` runs at once."""
        handles = await self.start_many(subject, load, count)
        await asyncio.gather(*(self._ended(subject, load, handle) for handle in handles))

    async def start_many(self, subject: Subject, load: Load, count: int) -> list[Handle]:
        """Start `count` runs."""
        gate = asyncio.Semaphore(STARTED_AT_ONCE)

        async def started() -> Handle:
            async with gate:
                return await self.start(subject, load)

        return list(await asyncio.gather(*(started() for _ in range(count))))

    async def timed(self, subject: Subject, load: Load, *, count: int = 1) -> Timed:
        """Run `count` runs at once and measure them together."""
        worker = self._workers[subject.name]
        worker_cpu, server_cpu = worker.cpu_s(), self._server.cpu_s()
        began = time.perf_counter()
        await self.run_many(subject, load, count)
        return Timed(
            wall_s=time.perf_counter() - began,
            worker_cpu_s=worker.cpu_s() - worker_cpu,
            server_cpu_s=self._server.cpu_s() - server_cpu,
        )

    async def until_idle(self, handle: Handle, load: Load) -> None:
        """Wait until an open run has done its turns: it then waits for a signal or a timer."""
        async with asyncio.timeout(RUN_TIMEOUT_S):
            while True:
                description = await handle.describe()
                raw = description.raw_description
                busy = raw.pending_activities or raw.HasField("pending_workflow_task")
                if not busy:
                    break
                await asyncio.sleep(0.2)
        if description.status is not WorkflowExecutionStatus.RUNNING:
            raise RuntimeError(f"{handle.id} was to stay open, and is {description.status}")
        activities = 2 * load.turns - 1
        if description.history_length < EVENTS_AN_ACTIVITY * activities:
            raise RuntimeError(f"{handle.id} waits before its {load.turns} turns are done")

    def rss_mib(self, subject: Served) -> float:
        """Return the resident memory of a subject's worker."""
        return self._workers[subject.name].rss_mib()

    async def _ended(self, subject: Subject, load: Load, handle: Handle) -> None:
        """Wait for a result, but no longer than the worker lives."""
        waiting = asyncio.ensure_future(handle.result())
        deadline = time.monotonic() + RUN_TIMEOUT_S
        while not (await asyncio.wait({waiting}, timeout=1))[0]:
            self._workers[subject.name].check()
            if time.monotonic() > deadline:
                waiting.cancel()
                raise TimeoutError(f"{handle.id} has not ended within {RUN_TIMEOUT_S} s")
        taken = subject.turns_of(waiting.result())
        if taken != load.turns:
            raise RuntimeError(f"{handle.id} took {taken} turns instead of {load.turns}")


@asynccontextmanager
async def bench() -> AsyncIterator[Bench]:
    """Set up a bench: nothing in it has been used before."""
    async with (
        temporal_server() as (server, client),
        ScriptedModelServer(turns(1), recorded=0) as model,
    ):
        yield Bench(client, server, model)


async def history_size(client: Client, handle: Handle) -> HistorySize:
    """Measure what a run recorded, following it where it continued as new."""
    run_id: str | None = handle.first_execution_run_id
    size = events = runs = 0
    while run_id:
        described = await client.get_workflow_handle(handle.id, run_id=run_id).describe()
        size += described.raw_info.history_size_bytes
        events += described.history_length
        runs += 1
        continued = described.status is WorkflowExecutionStatus.CONTINUED_AS_NEW
        run_id = await _next_run(client, handle.id, run_id) if continued else None
    return HistorySize(size, events, runs)


async def actions_of(handle: Handle) -> int:
    """Return the billable actions of a run that did not continue as new."""
    return billable_actions((await handle.fetch_history()).events)


async def _next_run(client: Client, workflow_id: str, run_id: str) -> str:
    handle = client.get_workflow_handle(workflow_id, run_id=run_id)
    closing = WorkflowHistoryEventFilterType.CLOSE_EVENT
    async for event in handle.fetch_history_events(event_filter_type=closing):
        return event.workflow_execution_continued_as_new_event_attributes.new_execution_run_id
    raise RuntimeError(f"{workflow_id} has no closing event")

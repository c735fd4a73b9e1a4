"""Recovery: a worker is killed in a model call, and another one makes the call again."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from temporalio.api.enums.v1 import PendingActivityState, TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.client import Client

from bench.measure import bench
from bench.processes import worker_process
from bench.scripted_model_server import Request, Step
from bench.subjects import AGENTS_QUEUE, OUTLAST, Handle, Load
from bench.tables import Cell, Table

KILLED_AFTER_S = (0.5, 4.0, 8.0)
"""How long the model call has lasted: before its first heartbeat, and after it."""

RECOVERED_WITHIN_S = 120.0
POLL_S = 0.05

STARTED = PendingActivityState.PENDING_ACTIVITY_STATE_STARTED


@dataclass(frozen=True)
class Recovered:
    """Seconds after the kill until the server retries the call, a worker takes it, and so on."""

    retried_s: float
    taken_s: float
    called_s: float
    ended_s: float
    calls: int


class SilentModel:
    """A script whose first answer never comes. The later ones come at once."""

    def __init__(self) -> None:
        self.called_at: list[float] = []

    def __call__(self, _request: Request) -> Step:
        """Return the next answer."""
        self.called_at.append(time.perf_counter())
        is_first = len(self.called_at) == 1
        return Step(delay_s=RECOVERED_WITHIN_S * 2) if is_first else Step('{"answer":"done"}')


async def recovered(killed_after_s: float) -> Recovered:
    """Kill the worker of two that makes a model call, and follow the call until the run ends."""
    async with bench() as stand:
        model = SilentModel()
        address = stand.client.service_client.config.target_host
        command = OUTLAST.worker(stand.model.url)
        async with (
            worker_process("one", command, temporal_address=address) as one,
            worker_process("other", command, temporal_address=address) as other,
        ):
            await _polled_by(stand.client, 2)
            handle = await stand.start(OUTLAST, Load(turns=1))
            stand.model.script = model
            while not model.called_at:  # noqa: ASYNC110 the script is no coroutine
                await asyncio.sleep(POLL_S)
            await asyncio.sleep(killed_after_s)
            pending = (await handle.describe()).raw_description.pending_activities
            pid = int(pending[0].last_worker_identity.partition("@")[0])
            next(worker for worker in (one, other) if worker.pid == pid).kill()
            killed_at = time.perf_counter()
            async with asyncio.timeout(RECOVERED_WITHIN_S):
                retried_at, taken_at = await _second_attempt(handle)
                await handle.result()
            ended_at = time.perf_counter()
        return Recovered(
            retried_s=retried_at - killed_at,
            taken_s=taken_at - killed_at,
            called_s=model.called_at[1] - killed_at,
            ended_s=ended_at - killed_at,
            calls=len(model.called_at),
        )


async def _polled_by(client: Client, count: int) -> None:
    """Wait until so many workers poll the queue of the agents."""
    request = DescribeTaskQueueRequest(
        namespace=client.namespace,
        task_queue=TaskQueue(name=AGENTS_QUEUE),
        task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY,
    )
    async with asyncio.timeout(RECOVERED_WITHIN_S):
        while True:
            described = await client.workflow_service.describe_task_queue(request)
            if len({poller.identity for poller in described.pollers}) >= count:
                return
            await asyncio.sleep(POLL_S)


async def _second_attempt(handle: Handle) -> tuple[float, float]:
    """Return when the server made a second attempt of the call, and when a worker took it."""
    retried_at = 0.0
    while True:
        pending = (await handle.describe()).raw_description.pending_activities
        attempts = [each for each in pending if each.attempt > 1]
        if attempts and not retried_at:
            retried_at = time.perf_counter()
        if retried_at and (not attempts or attempts[0].state == STARTED):
            return retried_at, time.perf_counter()
        await asyncio.sleep(POLL_S)


async def recovery(killed_after_s: Sequence[float], rounds: int) -> list[Table]:
    """Measure the recovery of a model call whose worker was killed."""
    rows: list[list[Cell]] = []
    for seconds in killed_after_s:
        found = [await recovered(seconds) for _ in range(rounds)]
        rows.append(
            [
                f"{seconds:g} s into the call",
                median(each.retried_s for each in found),
                median(each.taken_s for each in found),
                median(each.called_s for each in found),
                max(each.called_s for each in found),
                median(each.ended_s for each in found),
                max(each.calls for each in found),
            ]
        )
    return [
        Table(
            f"Recovery (seconds after kill -9, with a second worker; {rounds} rounds)",
            [
                "killed",
                "server retries",
                "worker takes it",
                "model is called",
                "most",
                "run ends",
                "calls",
            ],
            rows,
        )
    ]

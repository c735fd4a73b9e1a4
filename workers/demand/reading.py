"""What a Temporal server says of a task queue: tasks that wait, and slots that its workers use."""

import asyncio
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Protocol

from temporalio.api.deployment.v1 import WorkerDeploymentVersion
from temporalio.api.enums.v1 import TaskQueueType, WorkerStatus
from temporalio.api.taskqueue.v1 import TaskQueue, TaskQueueStats
from temporalio.api.worker.v1 import WorkerHeartbeat
from temporalio.api.workflowservice.v1 import (
    DescribeTaskQueueRequest,
    DescribeWorkerDeploymentVersionRequest,
    ListWorkersRequest,
)
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from outlast.errors import OutlastError
from workers.demand.demand import TASK_TYPES, Load, Reading, Target, TaskType, WorkerLoad

CALL_TIMEOUT = timedelta(seconds=5)

PAGE_SIZE = 500
MAX_PAGES = 20
"""Servers remember workers for a day, also those that have ended."""

USUAL_INTERVAL = timedelta(seconds=60)
"""How often workers tell how they are, unless they were told otherwise: their first word does not say."""

MISSED_BEATS = 3
LEAST_SILENCE = timedelta(seconds=15)
"""Workers that were silent for so many beats, and at least so long, are dead."""

_TYPES: Mapping[TaskType, TaskQueueType.ValueType] = {
    "workflow": TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
    "activity": TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY,
}


class NotRead(OutlastError):
    """Raised when the server cannot say how a target is."""


class Source(Protocol):
    """Whatever can say how a target is."""

    async def read(self, target: Target) -> Reading:
        """Return how it is now; raises `NotRead`."""
        ...


class TemporalSource:
    """A Temporal server, as a source of readings."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def read(self, target: Target) -> Reading:
        """Ask the server for the backlog and for the workers of a target; raises `NotRead`."""
        as_of = datetime.now(UTC)
        waiting = self._version_stats(target) if target.deployment else self._queue_stats(target)
        try:
            stats, workers = await asyncio.gather(waiting, self._workers(target))
        except RPCError as error:
            said = " ".join(error.message.split()) or error.status.name
            raise NotRead(f"Temporal does not say: {said}") from None
        workers = alive(workers, at=as_of)
        loads: dict[TaskType, Load] = {
            kind: load_of(kind, stats.get(kind, TaskQueueStats()), workers) for kind in TASK_TYPES
        }
        return Reading(loads, as_of, tuple(map(_worker_load, workers)))

    async def _queue_stats(self, target: Target) -> dict[TaskType, TaskQueueStats]:
        async def of(kind: TaskType) -> TaskQueueStats:
            request = DescribeTaskQueueRequest(
                namespace=self._client.namespace,
                task_queue=TaskQueue(name=target.task_queue),
                task_queue_type=_TYPES[kind],
                report_stats=True,
            )
            service = self._client.workflow_service
            return (await service.describe_task_queue(request, timeout=CALL_TIMEOUT)).stats

        found = await asyncio.gather(*map(of, TASK_TYPES))
        return dict(zip(TASK_TYPES, found, strict=True))

    async def _version_stats(self, target: Target) -> dict[TaskType, TaskQueueStats]:
        request = DescribeWorkerDeploymentVersionRequest(
            namespace=self._client.namespace,
            deployment_version=WorkerDeploymentVersion(
                deployment_name=target.deployment, build_id=target.build_id
            ),
            report_task_queue_stats=True,
        )
        service = self._client.workflow_service
        try:
            found = await service.describe_worker_deployment_version(request, timeout=CALL_TIMEOUT)
        except RPCError as error:
            # Nobody has polled for it yet, which is how a version begins that waits for its first worker.
            if error.status is RPCStatusCode.NOT_FOUND:
                return {}
            raise
        return {
            kind: queue.stats
            for queue in found.version_task_queues
            for kind in TASK_TYPES
            if queue.name == target.task_queue and queue.type == _TYPES[kind]
        }

    async def _workers(self, target: Target) -> list[WorkerHeartbeat]:
        found: list[WorkerHeartbeat] = []
        request = ListWorkersRequest(
            namespace=self._client.namespace,
            page_size=PAGE_SIZE,
            query=f'TaskQueue="{_escaped(target.task_queue)}"',
        )
        for _ in range(MAX_PAGES):
            page = await self._client.workflow_service.list_workers(request, timeout=CALL_TIMEOUT)
            found += [info.worker_heartbeat for info in page.workers_info]
            if not page.next_page_token:
                return [worker for worker in found if _serves(worker, target)]
            request.next_page_token = page.next_page_token
        raise NotRead(f"{target.task_queue!r} has more than {PAGE_SIZE * MAX_PAGES} workers")


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _serves(worker: WorkerHeartbeat, target: Target) -> bool:
    version = worker.deployment_version
    ours = (version.deployment_name, version.build_id) == (target.deployment, target.build_id)
    return worker.task_queue == target.task_queue and (ours or not target.deployment)


def alive(workers: Iterable[WorkerHeartbeat], *, at: datetime) -> list[WorkerHeartbeat]:
    """Return those that were heard of lately, without those that drain: these leave anyway.

    To count what a draining worker still does would start another one in its place.
    """
    return [
        worker
        for worker in workers
        if worker.status == WorkerStatus.WORKER_STATUS_RUNNING
        and at - worker.heartbeat_time.ToDatetime(UTC) <= _silence(worker)
    ]


def _silence(worker: WorkerHeartbeat) -> timedelta:
    interval = worker.elapsed_since_last_heartbeat.ToTimedelta() or USUAL_INTERVAL
    return max(LEAST_SILENCE, MISSED_BEATS * interval)


def load_of(kind: TaskType, stats: TaskQueueStats, workers: Iterable[WorkerHeartbeat]) -> Load:
    """Return the load of one type of tasks."""
    backlog = stats.approximate_backlog_count
    age_s = stats.approximate_backlog_age.ToTimedelta().total_seconds()
    return Load(
        backlog=backlog,
        busy=sum(_used(kind, worker) for worker in workers),
        oldest_s=age_s if backlog and age_s else None,
    )


def _worker_load(worker: WorkerHeartbeat) -> WorkerLoad:
    return WorkerLoad(
        instance_key=worker.worker_instance_key,
        host_name=worker.host_info.host_name,
        activities=_used("activity", worker),
    )


def _used(kind: TaskType, worker: WorkerHeartbeat) -> int:
    slots = (
        worker.workflow_task_slots_info if kind == "workflow" else worker.activity_task_slots_info
    )
    return slots.current_used_slots

"""What a Temporal server says of a task queue: tasks that wait, and slots that its workers use."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Protocol

from temporalio.api.deployment.v1 import RoutingConfig, WorkerDeploymentVersion
from temporalio.api.enums.v1 import TaskQueueType, WorkerStatus
from temporalio.api.taskqueue.v1 import TaskQueue, TaskQueueStats
from temporalio.api.worker.v1 import WorkerHeartbeat
from temporalio.api.workflowservice.v1 import (
    DescribeTaskQueueRequest,
    DescribeWorkerDeploymentRequest,
    DescribeWorkerDeploymentVersionRequest,
    ListWorkersRequest,
)
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from outlast.errors import OutlastError
from outlast_workers.demand.demand import TASK_TYPES, Load, Reading, Target, TaskType, WorkerLoad

CALL_TIMEOUT = timedelta(seconds=5)

PAGE_SIZE = 500
MAX_PAGES = 20
"""Servers remember workers for a day, also those that have ended."""

ONLY_RUNNING = ' AND Status="Running"'

USUAL_INTERVAL = timedelta(seconds=60)
"""How often workers tell how they are, unless they were told otherwise: their first word does not say."""

MISSED_BEATS = 3
LEAST_SILENCE = timedelta(seconds=15)
"""Workers that were silent for so many beats, and at least so long, are dead."""

_TYPES: Mapping[TaskType, TaskQueueType.ValueType] = {
    "workflow": TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
    "activity": TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY,
}

Stats = Mapping[TaskType, TaskQueueStats]


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
        self._is_filter_known = False

    async def read(self, target: Target) -> Reading:
        """Ask the server for the backlog and for the workers of a target; raises `NotRead`."""
        as_of = datetime.now(UTC)
        waiting = (
            self._version_stats(target)
            if target.deployment
            else self._queue_stats(target.task_queue, TASK_TYPES)
        )
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

    async def _queue_stats(self, task_queue: str, types: Sequence[TaskType]) -> Stats:
        async def of(kind: TaskType) -> TaskQueueStats:
            request = DescribeTaskQueueRequest(
                namespace=self._client.namespace,
                task_queue=TaskQueue(name=task_queue),
                task_queue_type=_TYPES[kind],
                report_stats=True,
            )
            service = self._client.workflow_service
            return (await service.describe_task_queue(request, timeout=CALL_TIMEOUT)).stats

        found = await asyncio.gather(*map(of, types))
        return dict(zip(types, found, strict=True))

    async def _version_stats(self, target: Target) -> Stats:
        polled = await self._polled_stats(target)
        unpolled: list[TaskType] = [kind for kind in TASK_TYPES if kind not in polled]
        bare = await self._queue_stats(target.task_queue, unpolled)
        # Mostly none waits there, and reads of deployments are few: the server limits them.
        if not any(stats.approximate_backlog_count for stats in bare.values()):
            return polled
        return stats_of_version(target, polled, bare, routing=await self._routing(target))

    async def _polled_stats(self, target: Target) -> Stats:
        """Return the stats of the types of tasks that the version has polled the queue for."""
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

    async def _routing(self, target: Target) -> RoutingConfig:
        request = DescribeWorkerDeploymentRequest(
            namespace=self._client.namespace, deployment_name=target.deployment
        )
        service = self._client.workflow_service
        try:
            found = await service.describe_worker_deployment(request, timeout=CALL_TIMEOUT)
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                return RoutingConfig()
            raise
        return found.worker_deployment_info.routing_config

    async def _workers(self, target: Target) -> list[WorkerHeartbeat]:
        found = await self._listed(target, ONLY_RUNNING)
        if found:
            self._is_filter_known = True
        elif not self._is_filter_known:
            # A server that does not know the filter finds none, without an error.
            first, _ = await self._page(self._list_request(target))
            if any(map(_runs, first)):
                found = await self._listed(target)
        return [worker for worker in found if _serves(worker, target)]

    async def _listed(self, target: Target, only: str = "") -> list[WorkerHeartbeat]:
        request = self._list_request(target, only)
        found: list[WorkerHeartbeat] = []
        for _ in range(MAX_PAGES):
            page, request.next_page_token = await self._page(request)
            found += page
            if not request.next_page_token:
                return found
        raise NotRead(f"{target.task_queue!r} has more than {PAGE_SIZE * MAX_PAGES} workers")

    def _list_request(self, target: Target, only: str = "") -> ListWorkersRequest:
        return ListWorkersRequest(
            namespace=self._client.namespace,
            page_size=PAGE_SIZE,
            query=f'TaskQueue="{_escaped(target.task_queue)}"{only}',
        )

    async def _page(self, request: ListWorkersRequest) -> tuple[list[WorkerHeartbeat], bytes]:
        page = await self._client.workflow_service.list_workers(request, timeout=CALL_TIMEOUT)
        return [info.worker_heartbeat for info in page.workers_info], page.next_page_token


def stats_of_version(
    target: Target, polled: Stats, bare: Stats, *, routing: RoutingConfig
) -> Stats:
    """Return what waits for a version: the current one also gets what waits where it has not polled yet.

    Else it would never start from no worker, for a version has a queue only once it has polled it.
    """
    current = routing.current_deployment_version
    is_current = (current.deployment_name, current.build_id) == (target.deployment, target.build_id)
    return {**bare, **polled} if is_current else polled


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _serves(worker: WorkerHeartbeat, target: Target) -> bool:
    version = worker.deployment_version
    ours = (version.deployment_name, version.build_id) == (target.deployment, target.build_id)
    return worker.task_queue == target.task_queue and (ours or not target.deployment)


def _runs(worker: WorkerHeartbeat) -> bool:
    return worker.status == WorkerStatus.WORKER_STATUS_RUNNING


def alive(workers: Iterable[WorkerHeartbeat], *, at: datetime) -> list[WorkerHeartbeat]:
    """Return those that were heard of lately, without those that drain: these leave anyway.

    To count what a draining worker still does would start another one in its place.
    """
    return [
        worker
        for worker in workers
        if _runs(worker) and at - worker.heartbeat_time.ToDatetime(UTC) <= _silence(worker)
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

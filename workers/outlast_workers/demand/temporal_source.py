"""Readings from a Temporal server: waiting tasks of a task queue, and busy slots of its workers."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Protocol

from temporalio.api.deployment.v1 import RoutingConfig, WorkerDeploymentVersion
from temporalio.api.enums.v1 import TaskQueueType, WorkerStatus
from temporalio.api.taskqueue.v1 import TaskQueue, TaskQueueStats
from temporalio.api.worker.v1 import WorkerHeartbeat
from temporalio.api.workflowservice.v1 import (
    DescribeNamespaceRequest,
    DescribeTaskQueueRequest,
    DescribeWorkerDeploymentRequest,
    DescribeWorkerDeploymentVersionRequest,
    ListWorkersRequest,
)
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from outlast.errors import OutlastError
from outlast_workers.demand.demand_query import (
    TASK_TYPES,
    Load,
    Reading,
    Target,
    TaskType,
    WorkerLoad,
)

CALL_TIMEOUT = timedelta(seconds=5)

PAGE_SIZE = 500
MAX_PAGES = 20
"""Servers list workers for a day, including those that have ended."""

ONLY_RUNNING = ' AND Status="Running"'

DEFAULT_HEARTBEAT_INTERVAL = timedelta(seconds=60)
"""Assumed for a worker's first heartbeat, which does not contain the interval."""

MAX_MISSED_HEARTBEATS = 3
MIN_SILENCE = timedelta(seconds=15)
"""A worker is dead after so many missed heartbeats, and at least this time without one."""

_TYPES: Mapping[TaskType, TaskQueueType.ValueType] = {
    "workflow": TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
    "activity": TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY,
}

Stats = Mapping[TaskType, TaskQueueStats]

BACKLOG_ONLY = (
    "enable frontend.WorkerHeartbeatsEnabled in a server of 1.32 or newer, or scale by the backlog alone"
    " (chart: scaling.trigger=temporal)"
)
"""What to do if the server cannot say which slots are busy."""


class ReadingFailed(OutlastError):
    """Raised when there is no current reading of a target."""


class Source(Protocol):
    """A source of readings."""

    async def read(self, target: Target) -> Reading:
        """Return the current state of a target; raises `ReadingFailed`."""
        ...


class TemporalSource:
    """A Temporal server as a source of readings."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._supports_filter = False
        self._knows_workers = False

    async def read(self, target: Target) -> Reading:
        """Read the backlog and the workers of a target; raises `ReadingFailed`."""
        as_of = datetime.now(UTC)
        waiting = (
            self._version_stats(target)
            if target.deployment
            else self._queue_stats(target.task_queue, TASK_TYPES)
        )
        try:
            stats, workers, _ = await asyncio.gather(
                waiting, self._workers(target), self._check_heartbeats()
            )
        except RPCError as error:
            if error.status is RPCStatusCode.UNIMPLEMENTED:
                raise ReadingFailed(
                    f"the server is too old to report busy slots: {BACKLOG_ONLY}"
                ) from None
            reason = " ".join(error.message.split()) or error.status.name
            raise ReadingFailed(f"Temporal returned an error: {reason}") from None
        workers = live_workers(workers, now=as_of)
        loads: dict[TaskType, Load] = {
            task_type: load_of(task_type, stats.get(task_type, TaskQueueStats()), workers)
            for task_type in TASK_TYPES
        }
        return Reading(loads, as_of, tuple(map(_worker_load, workers)))

    async def _check_heartbeats(self) -> None:
        """Raise `ReadingFailed` if the namespace takes no heartbeats of workers.

        Such a server returns no workers and no error. A reading would then count the backlog only, and the
        autoscaler would end workers in the middle of their work.
        """
        if self._knows_workers:
            return
        request = DescribeNamespaceRequest(namespace=self._client.namespace)
        service = self._client.workflow_service
        try:
            found = await service.describe_namespace(request, timeout=CALL_TIMEOUT)
        except RPCError as error:
            # Some API keys may use a namespace but not describe it.
            if error.status is RPCStatusCode.PERMISSION_DENIED:
                return
            raise
        self._knows_workers = found.namespace_info.capabilities.worker_heartbeats
        if not self._knows_workers:
            raise ReadingFailed(
                f"namespace {self._client.namespace!r} takes no heartbeats of workers, so busy slots are"
                f" unknown: {BACKLOG_ONLY}"
            )

    async def _queue_stats(self, task_queue: str, types: Sequence[TaskType]) -> Stats:
        async def stats_of(task_type: TaskType) -> TaskQueueStats:
            request = DescribeTaskQueueRequest(
                namespace=self._client.namespace,
                task_queue=TaskQueue(name=task_queue),
                task_queue_type=_TYPES[task_type],
                report_stats=True,
            )
            service = self._client.workflow_service
            return (await service.describe_task_queue(request, timeout=CALL_TIMEOUT)).stats

        stats = await asyncio.gather(*map(stats_of, types))
        return dict(zip(types, stats, strict=True))

    async def _version_stats(self, target: Target) -> Stats:
        polled = await self._polled_stats(target)
        unpolled: list[TaskType] = [kind for kind in TASK_TYPES if kind not in polled]
        unversioned = await self._queue_stats(target.task_queue, unpolled)
        # Usually no task waits there. Skip the next call then: the server limits its rate.
        if not any(stats.approximate_backlog_count for stats in unversioned.values()):
            return polled
        return version_stats(target, polled, unversioned, routing=await self._routing(target))

    async def _polled_stats(self, target: Target) -> Stats:
        """Return the stats of the task types for which the version has polled the queue."""
        request = DescribeWorkerDeploymentVersionRequest(
            namespace=self._client.namespace,
            deployment_version=WorkerDeploymentVersion(
                deployment_name=target.deployment, build_id=target.build_id
            ),
            report_task_queue_stats=True,
        )
        service = self._client.workflow_service
        try:
            version = await service.describe_worker_deployment_version(
                request, timeout=CALL_TIMEOUT
            )
        except RPCError as error:
            # No worker of the version has polled yet: it waits for its first worker.
            if error.status is RPCStatusCode.NOT_FOUND:
                return {}
            raise
        return {
            kind: queue.stats
            for queue in version.version_task_queues
            for kind in TASK_TYPES
            if queue.name == target.task_queue and queue.type == _TYPES[kind]
        }

    async def _routing(self, target: Target) -> RoutingConfig:
        request = DescribeWorkerDeploymentRequest(
            namespace=self._client.namespace, deployment_name=target.deployment
        )
        service = self._client.workflow_service
        try:
            deployment = await service.describe_worker_deployment(request, timeout=CALL_TIMEOUT)
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                return RoutingConfig()
            raise
        return deployment.worker_deployment_info.routing_config

    async def _workers(self, target: Target) -> list[WorkerHeartbeat]:
        workers = await self._list(target, ONLY_RUNNING)
        if workers:
            self._supports_filter = True
        elif not self._supports_filter:
            # A server that does not support the filter returns no workers, without an error.
            first, _ = await self._page(self._list_request(target))
            if any(map(_is_running, first)):
                workers = await self._list(target)
        return [worker for worker in workers if _serves(worker, target)]

    async def _list(self, target: Target, only: str = "") -> list[WorkerHeartbeat]:
        request = self._list_request(target, only)
        workers: list[WorkerHeartbeat] = []
        for _ in range(MAX_PAGES):
            page, request.next_page_token = await self._page(request)
            workers += page
            if not request.next_page_token:
                return workers
        raise ReadingFailed(f"{target.task_queue!r} has more than {PAGE_SIZE * MAX_PAGES} workers")

    def _list_request(self, target: Target, only: str = "") -> ListWorkersRequest:
        return ListWorkersRequest(
            namespace=self._client.namespace,
            page_size=PAGE_SIZE,
            query=f'TaskQueue="{_escaped(target.task_queue)}"{only}',
        )

    async def _page(self, request: ListWorkersRequest) -> tuple[list[WorkerHeartbeat], bytes]:
        page = await self._client.workflow_service.list_workers(request, timeout=CALL_TIMEOUT)
        return [info.worker_heartbeat for info in page.workers_info], page.next_page_token


def version_stats(
    target: Target, polled: Stats, unversioned: Stats, *, routing: RoutingConfig
) -> Stats:
    """Return the backlog of a version.

    The current version also gets the queue's backlog of the task types that it has not polled yet.
    Otherwise it would never scale up from no worker: a version has no queue before it polls it.
    """
    current = routing.current_deployment_version
    is_current = (current.deployment_name, current.build_id) == (target.deployment, target.build_id)
    return {**unversioned, **polled} if is_current else polled


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _serves(worker: WorkerHeartbeat, target: Target) -> bool:
    version = worker.deployment_version
    same = (version.deployment_name, version.build_id) == (target.deployment, target.build_id)
    return worker.task_queue == target.task_queue and (same or not target.deployment)


def _is_running(worker: WorkerHeartbeat) -> bool:
    return worker.status == WorkerStatus.WORKER_STATUS_RUNNING


def live_workers(workers: Iterable[WorkerHeartbeat], *, now: datetime) -> list[WorkerHeartbeat]:
    """Return the workers with a recent heartbeat, without those that drain.

    Counting the tasks of a draining worker would start another worker in its place.
    """
    return [
        worker
        for worker in workers
        if _is_running(worker)
        and now - worker.heartbeat_time.ToDatetime(UTC) <= _max_silence(worker)
    ]


def _max_silence(worker: WorkerHeartbeat) -> timedelta:
    interval = worker.elapsed_since_last_heartbeat.ToTimedelta() or DEFAULT_HEARTBEAT_INTERVAL
    return max(MIN_SILENCE, MAX_MISSED_HEARTBEATS * interval)


def load_of(task_type: TaskType, stats: TaskQueueStats, workers: Iterable[WorkerHeartbeat]) -> Load:
    """Return the load of one task type."""
    backlog = stats.approximate_backlog_count
    age_s = stats.approximate_backlog_age.ToTimedelta().total_seconds()
    return Load(
        backlog=backlog,
        busy=sum(_busy_slots(task_type, worker) for worker in workers),
        oldest_s=age_s if backlog and age_s else None,
    )


def _worker_load(worker: WorkerHeartbeat) -> WorkerLoad:
    return WorkerLoad(
        instance_key=worker.worker_instance_key,
        host_name=worker.host_info.host_name,
        activities=_busy_slots("activity", worker),
    )


def _busy_slots(task_type: TaskType, worker: WorkerHeartbeat) -> int:
    slots = (
        worker.workflow_task_slots_info
        if task_type == "workflow"
        else worker.activity_task_slots_info
    )
    return slots.current_used_slots

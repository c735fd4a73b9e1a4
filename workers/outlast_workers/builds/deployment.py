"""A worker deployment at the Temporal server: its builds, their queues, and which build gets new runs."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, TypeVar

from temporalio.api.deployment.v1 import WorkerDeploymentInfo, WorkerDeploymentVersion
from temporalio.api.enums.v1 import TaskQueueType, WorkerDeploymentVersionStatus
from temporalio.api.taskqueue.v1 import TaskQueue as ApiTaskQueue
from temporalio.api.workflowservice.v1 import (
    DeleteWorkerDeploymentVersionRequest,
    DescribeTaskQueueRequest,
    DescribeWorkerDeploymentRequest,
    DescribeWorkerDeploymentVersionRequest,
    ListWorkerDeploymentsRequest,
    SetWorkerDeploymentCurrentVersionRequest,
    SetWorkerDeploymentRampingVersionRequest,
)
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from outlast.errors import NotReady

CALL_TIMEOUT = timedelta(seconds=10)

MAX_DEPLOYMENTS = 100
"""Deployments of a namespace that are read to find the only one: the server's own limit by default."""

IDENTITY = "outlast worker promote"
"""The identity that Temporal records for a change of the deployment."""

MAX_BUSY_S = 60.0
"""How long the server may reject the reads of a deployment because it is busy."""

BUSY_RETRY_S = 1.0
"""How long to wait before the next read."""

Found = TypeVar("Found")

POLLER_FRESH = timedelta(seconds=75)
"""A poll lasts at most a minute. So a workflow worker that is alive has polled within this time.

An activity worker polls only while it has a free slot. For it, every poller counts that the server still
lists, by default for five minutes.
"""


class BuildStatus(StrEnum):
    """What Temporal sends to a build."""

    NEW = "new"
    """The build has never had new runs."""
    RAMPING = "ramping"
    CURRENT = "current"
    DRAINING = "draining"
    """Runs of the build are open; it gets no new ones."""
    DRAINED = "drained"


_S = WorkerDeploymentVersionStatus
_STATUSES = {
    _S.WORKER_DEPLOYMENT_VERSION_STATUS_CURRENT: BuildStatus.CURRENT,
    _S.WORKER_DEPLOYMENT_VERSION_STATUS_RAMPING: BuildStatus.RAMPING,
    _S.WORKER_DEPLOYMENT_VERSION_STATUS_DRAINING: BuildStatus.DRAINING,
    _S.WORKER_DEPLOYMENT_VERSION_STATUS_DRAINED: BuildStatus.DRAINED,
}

_KINDS = {
    TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW: "workflow",
    TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY: "activity",
}


@dataclass(frozen=True, order=True)
class TaskQueue:
    """A task queue of a build, and the kind of tasks that it takes from there."""

    name: str
    kind: str

    def __str__(self) -> str:
        return f"{self.name} ({self.kind})"


@dataclass(frozen=True)
class Build:
    """A build as the deployment lists it."""

    id: str
    status: BuildStatus
    created: datetime


@dataclass(frozen=True)
class Routing:
    """Which build gets new runs. An empty build id stands for no build."""

    current: str
    ramping: str
    percent: float
    ramping_since: datetime
    percent_since: datetime
    conflict_token: bytes
    """A change is rejected if another change came after this reading."""
    builds: tuple[Build, ...]

    def status(self, build_id: str) -> BuildStatus | None:
        """Return the status of a build, or None if the server does not know it."""
        return next((build.status for build in self.builds if build.id == build_id), None)


class Deployment:
    """A worker deployment. All methods raise `RPCError` if the server rejects or does not answer."""

    def __init__(self, client: Client, name: str) -> None:
        self.client = client
        self.name = name

    async def routing(self) -> Routing | None:
        """Return which build gets new runs, or None if no worker of the deployment has polled yet."""
        request = DescribeWorkerDeploymentRequest(
            namespace=self.client.namespace, deployment_name=self.name
        )
        service = self.client.workflow_service
        try:
            found = await _read(service.describe_worker_deployment, request)
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                return None
            raise
        return _routing(found.worker_deployment_info, found.conflict_token)

    async def queues(self, build_id: str) -> frozenset[TaskQueue]:
        """Return the task queues that workers of a build have polled; none if it is unknown."""
        request = DescribeWorkerDeploymentVersionRequest(
            namespace=self.client.namespace, deployment_version=self._version(build_id)
        )
        service = self.client.workflow_service
        try:
            version = await _read(service.describe_worker_deployment_version, request)
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                return frozenset()
            raise
        return frozenset(
            TaskQueue(queue.name, _KINDS[queue.type])
            for queue in version.version_task_queues
            if queue.type in _KINDS
        )

    async def polled_queues(self, build_id: str) -> frozenset[TaskQueue]:
        """Return the task queues of a build that its workers poll now."""
        queues = sorted(await self.queues(build_id))
        polled = await asyncio.gather(*(self._is_polled(queue, build_id) for queue in queues))
        return frozenset(
            queue for queue, is_polled in zip(queues, polled, strict=True) if is_polled
        )

    async def _is_polled(self, queue: TaskQueue, build_id: str) -> bool:
        kind = next(number for number, name in _KINDS.items() if name == queue.kind)
        request = DescribeTaskQueueRequest(
            namespace=self.client.namespace,
            task_queue=ApiTaskQueue(name=queue.name),
            task_queue_type=kind,
        )
        service = self.client.workflow_service
        found = await _read(service.describe_task_queue, request)
        oldest = datetime.now(UTC) - POLLER_FRESH
        return any(
            (options := poller.deployment_options).deployment_name == self.name
            and options.build_id == build_id
            and (queue.kind != "workflow" or poller.last_access_time.ToDatetime(UTC) >= oldest)
            for poller in found.pollers
        )

    async def ramp(
        self, build_id: str, percent: float, *, token: bytes, ignore_missing: bool = False
    ) -> None:
        """Send a share of new runs to a build. 0 percent ends the ramp."""
        request = SetWorkerDeploymentRampingVersionRequest(
            namespace=self.client.namespace,
            deployment_name=self.name,
            build_id=build_id if percent else "",
            percentage=percent,
            conflict_token=token,
            identity=IDENTITY,
            ignore_missing_task_queues=ignore_missing,
        )
        service = self.client.workflow_service
        await service.set_worker_deployment_ramping_version(request, timeout=CALL_TIMEOUT)

    async def make_current(
        self, build_id: str, *, token: bytes, ignore_missing: bool = False
    ) -> None:
        """Send all new runs to a build."""
        request = SetWorkerDeploymentCurrentVersionRequest(
            namespace=self.client.namespace,
            deployment_name=self.name,
            build_id=build_id,
            conflict_token=token,
            identity=IDENTITY,
            ignore_missing_task_queues=ignore_missing,
        )
        service = self.client.workflow_service
        await service.set_worker_deployment_current_version(request, timeout=CALL_TIMEOUT)

    async def delete(self, build_id: str) -> None:
        """Delete a build. The server rejects it while the build is in use or had pollers lately."""
        request = DeleteWorkerDeploymentVersionRequest(
            namespace=self.client.namespace,
            deployment_version=self._version(build_id),
            identity=IDENTITY,
        )
        service = self.client.workflow_service
        await service.delete_worker_deployment_version(request, timeout=CALL_TIMEOUT)

    def _version(self, build_id: str) -> WorkerDeploymentVersion:
        return WorkerDeploymentVersion(deployment_name=self.name, build_id=build_id)


async def _read(call: Callable[..., Awaitable[Found]], request: Any) -> Found:
    """Return what the server answers. It limits reads of a deployment, and may reject some at first."""
    until = asyncio.get_running_loop().time() + MAX_BUSY_S
    while True:
        try:
            return await call(request, retry=True, timeout=CALL_TIMEOUT)
        except RPCError as error:
            is_late = asyncio.get_running_loop().time() >= until
            if error.status is not RPCStatusCode.RESOURCE_EXHAUSTED or is_late:
                raise
        await asyncio.sleep(BUSY_RETRY_S)


def _routing(info: WorkerDeploymentInfo, token: bytes) -> Routing:
    config = info.routing_config
    builds = [
        Build(
            summary.deployment_version.build_id,
            _status(summary),
            summary.create_time.ToDatetime(UTC),
        )
        for summary in info.version_summaries
    ]
    return Routing(
        current=config.current_deployment_version.build_id,
        ramping=config.ramping_deployment_version.build_id,
        percent=config.ramping_version_percentage,
        ramping_since=config.ramping_version_changed_time.ToDatetime(UTC),
        percent_since=config.ramping_version_percentage_changed_time.ToDatetime(UTC),
        conflict_token=token,
        builds=tuple(sorted(builds, key=lambda build: build.created, reverse=True)),
    )


def _status(summary: WorkerDeploymentInfo.WorkerDeploymentVersionSummary) -> BuildStatus:
    # After a gate run, the server also calls a build drained that has never had a share of new runs.
    if not summary.HasField("first_activation_time"):
        return BuildStatus.NEW
    return _STATUSES.get(summary.status, BuildStatus.NEW)


async def find_deployment(client: Client, names: Sequence[str | None]) -> Deployment:
    """Return the deployment of the first name, or the only one of the namespace.

    Raises `NotReady` if there is no name, and the namespace has no deployment or several.
    """
    name = next(filter(None, names), None)
    if name is not None:
        return Deployment(client, name)
    request = ListWorkerDeploymentsRequest(namespace=client.namespace, page_size=MAX_DEPLOYMENTS)
    service = client.workflow_service
    listed = await service.list_worker_deployments(request, retry=True, timeout=CALL_TIMEOUT)
    found = sorted(each.name for each in listed.worker_deployments)
    if len(found) == 1:
        return Deployment(client, found[0])
    if not found:
        raise NotReady(
            f"namespace {client.namespace!r} has no worker deployment: start workers with"
            " TEMPORAL_DEPLOYMENT_NAME and TEMPORAL_WORKER_BUILD_ID"
        )
    raise NotReady(f"--deployment: the namespace has several; give one of {', '.join(found)}")

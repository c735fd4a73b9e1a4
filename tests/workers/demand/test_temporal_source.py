"""Which workers count, and how a load follows from the answers of the server."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from outlast_workers.demand.demand_query import Load, Target
from outlast_workers.demand.temporal_source import (
    MAX_PAGES,
    ONLY_RUNNING,
    ReadingFailed,
    TemporalSource,
    live_workers,
    load_of,
    version_stats,
)
from temporalio.api.deployment.v1 import RoutingConfig, WorkerDeploymentVersion
from temporalio.api.enums.v1 import WorkerStatus
from temporalio.api.namespace.v1 import NamespaceInfo
from temporalio.api.taskqueue.v1 import TaskQueueStats
from temporalio.api.worker.v1 import WorkerHeartbeat, WorkerInfo, WorkerSlotsInfo
from temporalio.api.workflowservice.v1 import (
    DescribeNamespaceResponse,
    DescribeTaskQueueResponse,
    ListWorkersRequest,
    ListWorkersResponse,
)
from temporalio.service import RPCError, RPCStatusCode

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
RUNNING = WorkerStatus.WORKER_STATUS_RUNNING
LEAVING = WorkerStatus.WORKER_STATUS_SHUTTING_DOWN


def worker(
    *, silent_s: float = 0, interval_s: float = 0, status: WorkerStatus.ValueType = RUNNING
) -> WorkerHeartbeat:
    heartbeat_time, interval = Timestamp(), Duration()
    heartbeat_time.FromDatetime(NOW - timedelta(seconds=silent_s))
    interval.FromTimedelta(timedelta(seconds=interval_s))
    return WorkerHeartbeat(
        status=status,
        heartbeat_time=heartbeat_time,
        elapsed_since_last_heartbeat=interval,
        workflow_task_slots_info=WorkerSlotsInfo(current_used_slots=1),
        activity_task_slots_info=WorkerSlotsInfo(current_used_slots=3, current_available_slots=9),
    )


@pytest.mark.parametrize(
    ("heartbeat", "counts"),
    [
        (worker(), True),
        (worker(silent_s=14, interval_s=1), True),
        (worker(silent_s=16, interval_s=1), False),
        (worker(silent_s=16, interval_s=10), True),
        (worker(silent_s=31, interval_s=10), False),
        (worker(silent_s=170), True),  # its first heartbeat: the default interval is a minute
        (worker(silent_s=181), False),
        (worker(silent_s=-5, interval_s=5), True),  # its clock is ahead
        (worker(status=LEAVING), False),
    ],
)
def test_a_worker_counts_while_it_sends_heartbeats_and_does_not_drain(
    heartbeat: WorkerHeartbeat, counts: bool
) -> None:
    assert live_workers([heartbeat], now=NOW) == ([heartbeat] if counts else [])


def test_busy_is_the_sum_of_the_used_slots() -> None:
    stats = TaskQueueStats(approximate_backlog_count=6)
    stats.approximate_backlog_age.FromTimedelta(timedelta(seconds=2.5))
    assert load_of("activity", stats, [worker(), worker()]) == Load(6, 6, 2.5)
    assert load_of("workflow", TaskQueueStats(), [worker(), worker()]) == Load(0, 2, None)


UNVERSIONED: dict[Any, int] = {"workflow": 1, "activity": 2}


def stats(backlog: int) -> TaskQueueStats:
    return TaskQueueStats(approximate_backlog_count=backlog)


@pytest.mark.parametrize(
    ("current", "polled", "waiting"),
    [
        ("b1", {}, {"workflow": 1, "activity": 2}),
        ("b1", {"activity": 7}, {"workflow": 1, "activity": 7}),
        ("b1", {"activity": 0}, {"workflow": 1, "activity": 0}),
        ("b2", {}, {}),  # the backlog belongs to the current version
        ("b2", {"activity": 7}, {"activity": 7}),
        ("", {}, {}),
    ],
)
def test_the_current_version_counts_the_queue_backlog_of_types_it_has_not_polled(
    current: str, polled: dict[Any, int], waiting: dict[str, int]
) -> None:
    version = WorkerDeploymentVersion(deployment_name="outlast", build_id=current)
    result = version_stats(
        Target("generate", "outlast", "b1"),
        {kind: stats(count) for kind, count in polled.items()},
        {kind: stats(count) for kind, count in UNVERSIONED.items() if kind not in polled},
        routing=RoutingConfig(current_deployment_version=version if current else None),
    )
    assert {kind: entry.approximate_backlog_count for kind, entry in result.items()} == waiting


class FakeService:
    """A server that lists so many ended workers before the running ones, one worker a page."""

    def __init__(
        self, *, ended: int, running: int, knows_status: bool = True, takes_heartbeats: bool = True
    ) -> None:
        self.takes_heartbeats = takes_heartbeats
        end = WorkerStatus.WORKER_STATUS_SHUTDOWN
        self.pages = [self._heartbeat(end)] * ended + [self._heartbeat(RUNNING)] * running
        self.knows_status = knows_status

    def _heartbeat(self, status: WorkerStatus.ValueType) -> WorkerHeartbeat:
        heartbeat = worker(status=status)
        heartbeat.task_queue = "q"
        heartbeat.heartbeat_time.FromDatetime(datetime.now(UTC))
        return heartbeat

    async def list_workers(self, request: ListWorkersRequest, **_: Any) -> ListWorkersResponse:
        pages = self.pages
        if request.query.endswith(ONLY_RUNNING):
            pages = [page for page in pages if self.knows_status and page.status == RUNNING]
        at = int(request.next_page_token or b"0")
        return ListWorkersResponse(
            workers_info=[WorkerInfo(worker_heartbeat=page) for page in pages[at : at + 1]],
            next_page_token=str(at + 1).encode() if at + 1 < len(pages) else b"",
        )

    async def describe_namespace(self, *_: Any, **__: Any) -> DescribeNamespaceResponse:
        capabilities = NamespaceInfo.Capabilities(worker_heartbeats=self.takes_heartbeats)
        return DescribeNamespaceResponse(namespace_info=NamespaceInfo(capabilities=capabilities))

    async def describe_task_queue(self, *_: Any, **__: Any) -> DescribeTaskQueueResponse:
        return DescribeTaskQueueResponse()


async def busy_of(service: FakeService) -> int:
    client: Any = SimpleNamespace(namespace="default", workflow_service=service)
    return (await TemporalSource(client).read(Target("q"))).loads["activity"].busy


@pytest.mark.parametrize("running", [0, 2])
async def test_many_ended_workers_do_not_prevent_a_reading(running: int) -> None:
    service = FakeService(ended=MAX_PAGES + 1, running=running)
    assert await busy_of(service) == 3 * running


async def test_a_server_without_the_filter_is_queried_without_it() -> None:
    assert await busy_of(FakeService(ended=0, running=2, knows_status=False)) == 6


async def test_a_namespace_without_heartbeats_of_workers_gives_no_demand() -> None:
    """Its list of workers is empty, without an error: a demand would be the backlog alone."""
    service = FakeService(ended=0, running=0, takes_heartbeats=False)
    for _ in range(2):
        with pytest.raises(ReadingFailed, match="'default' takes no heartbeats of workers"):
            await busy_of(service)


async def test_a_server_that_lists_no_workers_gives_no_demand(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def fails(*_: Any, **__: Any) -> None:
        raise RPCError("unknown method ListWorkers", RPCStatusCode.UNIMPLEMENTED, b"")

    service = FakeService(ended=0, running=0)
    monkeypatch.setattr(service, "list_workers", fails)
    with pytest.raises(
        ReadingFailed, match="too old to report busy slots: .*scaling.trigger=temporal"
    ):
        await busy_of(service)


async def test_a_key_that_may_not_describe_the_namespace_gets_a_demand(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def fails(*_: Any, **__: Any) -> None:
        raise RPCError("denied", RPCStatusCode.PERMISSION_DENIED, b"")

    service = FakeService(ended=0, running=2)
    monkeypatch.setattr(service, "describe_namespace", fails)
    assert await busy_of(service) == 6

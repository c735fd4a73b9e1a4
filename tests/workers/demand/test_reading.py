"""Which workers count, and how a load is read off what the server says."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from outlast_workers.demand.demand import Load, Target
from outlast_workers.demand.reading import (
    MAX_PAGES,
    ONLY_RUNNING,
    TemporalSource,
    alive,
    load_of,
    stats_of_version,
)
from temporalio.api.deployment.v1 import RoutingConfig, WorkerDeploymentVersion
from temporalio.api.enums.v1 import WorkerStatus
from temporalio.api.taskqueue.v1 import TaskQueueStats
from temporalio.api.worker.v1 import WorkerHeartbeat, WorkerInfo, WorkerSlotsInfo
from temporalio.api.workflowservice.v1 import (
    DescribeTaskQueueResponse,
    ListWorkersRequest,
    ListWorkersResponse,
)

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
    ("heard", "counts"),
    [
        (worker(), True),
        (worker(silent_s=14, interval_s=1), True),
        (worker(silent_s=16, interval_s=1), False),
        (worker(silent_s=16, interval_s=10), True),
        (worker(silent_s=31, interval_s=10), False),
        (worker(silent_s=170), True),  # its first word, and the usual interval is a minute
        (worker(silent_s=181), False),
        (worker(silent_s=-5, interval_s=5), True),  # its clock is ahead
        (worker(status=LEAVING), False),
    ],
)
def test_a_worker_counts_while_it_is_heard_of_and_does_not_drain(
    heard: WorkerHeartbeat, counts: bool
) -> None:
    assert alive([heard], at=NOW) == ([heard] if counts else [])


def test_busy_is_the_sum_of_the_slots_that_workers_use() -> None:
    stats = TaskQueueStats(approximate_backlog_count=6)
    stats.approximate_backlog_age.FromTimedelta(timedelta(seconds=2.5))
    assert load_of("activity", stats, [worker(), worker()]) == Load(6, 6, 2.5)
    assert load_of("workflow", TaskQueueStats(), [worker(), worker()]) == Load(0, 2, None)


BARE: dict[Any, int] = {"workflow": 1, "activity": 2}


def stats(backlog: int) -> TaskQueueStats:
    return TaskQueueStats(approximate_backlog_count=backlog)


@pytest.mark.parametrize(
    ("current", "polled", "waiting"),
    [
        ("b1", {}, {"workflow": 1, "activity": 2}),
        ("b1", {"activity": 7}, {"workflow": 1, "activity": 7}),
        ("b1", {"activity": 0}, {"workflow": 1, "activity": 0}),
        ("b2", {}, {}),  # it waits for the version that is current
        ("b2", {"activity": 7}, {"activity": 7}),
        ("", {}, {}),
    ],
)
def test_the_current_version_counts_the_bare_queue_where_it_has_not_polled(
    current: str, polled: dict[Any, int], waiting: dict[str, int]
) -> None:
    version = WorkerDeploymentVersion(deployment_name="outlast", build_id=current)
    found = stats_of_version(
        Target("generate", "outlast", "b1"),
        {kind: stats(count) for kind, count in polled.items()},
        {kind: stats(count) for kind, count in BARE.items() if kind not in polled},
        routing=RoutingConfig(current_deployment_version=version if current else None),
    )
    assert {kind: one.approximate_backlog_count for kind, one in found.items()} == waiting


class FakeService:
    """A server that remembers so many ended workers before those that run, a page each."""

    def __init__(self, *, ended: int, running: int, knows_status: bool = True) -> None:
        end = WorkerStatus.WORKER_STATUS_SHUTDOWN
        self.pages = [self._heard(end)] * ended + [self._heard(RUNNING)] * running
        self.knows_status = knows_status

    def _heard(self, status: WorkerStatus.ValueType) -> WorkerHeartbeat:
        one = worker(status=status)
        one.task_queue = "q"
        one.heartbeat_time.FromDatetime(datetime.now(UTC))
        return one

    async def list_workers(self, request: ListWorkersRequest, **_: Any) -> ListWorkersResponse:
        pages = self.pages
        if request.query.endswith(ONLY_RUNNING):
            pages = [one for one in pages if self.knows_status and one.status == RUNNING]
        at = int(request.next_page_token or b"0")
        return ListWorkersResponse(
            workers_info=[WorkerInfo(worker_heartbeat=one) for one in pages[at : at + 1]],
            next_page_token=str(at + 1).encode() if at + 1 < len(pages) else b"",
        )

    async def describe_task_queue(self, *_: Any, **__: Any) -> DescribeTaskQueueResponse:
        return DescribeTaskQueueResponse()


async def busy_of(service: FakeService) -> int:
    client: Any = SimpleNamespace(namespace="default", workflow_service=service)
    return (await TemporalSource(client).read(Target("q"))).loads["activity"].busy


@pytest.mark.parametrize("running", [0, 2])
async def test_workers_that_ended_today_do_not_keep_a_queue_from_being_read(running: int) -> None:
    service = FakeService(ended=MAX_PAGES + 1, running=running)
    assert await busy_of(service) == 3 * running


async def test_a_server_that_does_not_know_the_filter_is_asked_without_it() -> None:
    assert await busy_of(FakeService(ended=0, running=2, knows_status=False)) == 6

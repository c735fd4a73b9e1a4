"""Which workers count, and how a load is read off what the server says."""

from datetime import UTC, datetime, timedelta

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.enums.v1 import WorkerStatus
from temporalio.api.taskqueue.v1 import TaskQueueStats
from temporalio.api.worker.v1 import WorkerHeartbeat, WorkerSlotsInfo

from workers.demand.demand import Load
from workers.demand.reading import alive, load_of

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

"""When a worker does not make a local call: it shuts down, or an attempt of the workflow task was lost."""

from dataclasses import replace

import pytest
from outlast_activities.local_calls import check_local, has_lost_attempt, unregistered
from temporalio.api.enums.v1 import EventType, TimeoutType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from outlast.errors import NotLocal


def local(*, is_local: bool = True) -> ActivityEnvironment:
    environment = ActivityEnvironment()
    environment.info = replace(ActivityEnvironment.default_info(), is_local=is_local)
    return environment


async def test_a_worker_makes_local_and_other_calls() -> None:
    await local().run(check_local)
    await local(is_local=False).run(check_local)


async def test_a_worker_that_shuts_down_makes_no_local_call() -> None:
    environment = local()
    environment.worker_shutdown()
    with pytest.raises(NotLocal, match="the worker shuts down") as raised:
        await environment.run(check_local)
    assert not raised.value.non_retryable, "another worker may make later calls locally"
    ordinary = local(is_local=False)
    ordinary.worker_shutdown()
    await ordinary.run(check_local)


async def test_an_unknown_type_names_itself() -> None:
    with pytest.raises(ApplicationError, match="unknown is not registered on this") as raised:
        await local().run(unregistered, [])
    assert raised.value.type == "NotFoundError"
    assert not raised.value.non_retryable, "another worker may know it"


def event(name: str, *, timeout: str = "") -> HistoryEvent:
    made = HistoryEvent(event_type=EventType.Value(f"EVENT_TYPE_{name}"))
    if timeout:
        attributes = made.workflow_task_timed_out_event_attributes
        attributes.timeout_type = TimeoutType.Value(f"TIMEOUT_TYPE_{timeout}")
    return made


SCHEDULED = event("WORKFLOW_TASK_SCHEDULED")
STARTED = event("WORKFLOW_TASK_STARTED")
COMPLETED = event("WORKFLOW_TASK_COMPLETED")
LOST = event("WORKFLOW_TASK_TIMED_OUT", timeout="START_TO_CLOSE")
NOT_TAKEN = event("WORKFLOW_TASK_TIMED_OUT", timeout="SCHEDULE_TO_START")
FAILED = event("WORKFLOW_TASK_FAILED")
SIGNAL = event("WORKFLOW_EXECUTION_SIGNALED")
BEGINNING = event("WORKFLOW_EXECUTION_STARTED")


@pytest.mark.parametrize(
    ("oldest_first", "expected"),
    [
        ([BEGINNING, SCHEDULED, STARTED], False),
        ([LOST, SCHEDULED, STARTED, COMPLETED, SIGNAL, SCHEDULED, STARTED], False),
        ([COMPLETED, SCHEDULED, NOT_TAKEN, SCHEDULED, STARTED], False),
        ([COMPLETED, SCHEDULED, STARTED, LOST, SCHEDULED, STARTED], True),
        ([COMPLETED, SCHEDULED, STARTED, LOST, SCHEDULED, SIGNAL, STARTED], True),
        ([COMPLETED, SCHEDULED, STARTED, FAILED, SCHEDULED, STARTED], True),
        ([BEGINNING, SCHEDULED, STARTED, LOST], True),
        ([SIGNAL] * 20, True),
        ([], True),
    ],
)
def test_a_lost_attempt_is_found_in_the_newest_events(
    oldest_first: list[HistoryEvent], expected: bool
) -> None:
    assert has_lost_attempt(reversed(oldest_first)) is expected

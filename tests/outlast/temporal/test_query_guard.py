"""A query that brings events of a task that has not started: it fails, and the run does not see them."""

from datetime import timedelta
from typing import Any, cast

import pytest
from google.protobuf.json_format import ParseDict
from temporalio.bridge.proto.workflow_activation import WorkflowActivation, WorkflowActivationJob
from temporalio.bridge.proto.workflow_completion import WorkflowActivationCompletion
from temporalio.client import WorkflowQueryFailedError
from temporalio.worker import WorkflowInstance, WorkflowInstanceDetails, WorkflowRunner

from outlast.temporal.queries import EARLY_EVENTS, EARLY_QUERY_TRIES, query
from outlast.temporal.query_guard import LATE_RESULT, QueryGuard


class Recorder(WorkflowRunner):
    """A runner whose instances record the length of the history at each activation."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def prepare_workflow(self, defn: Any) -> None:
        pass

    def create_instance(self, det: WorkflowInstanceDetails) -> WorkflowInstance:
        return cast("WorkflowInstance", self)

    def activate(self, act: WorkflowActivation) -> WorkflowActivationCompletion:
        self.seen.append(act.history_length)
        return WorkflowActivationCompletion()


def activation(length: int, at_s: int, *, replaying: bool = False) -> WorkflowActivation:
    act = WorkflowActivation(history_length=length, is_replaying=replaying)
    act.timestamp.seconds = at_s
    return act


@pytest.mark.parametrize(
    ("activations", "seen"),
    [
        ([activation(3, 1), activation(8, 1)], [3]),
        ([activation(3, 1, replaying=True), activation(8, 1)], [3]),
        ([activation(3, 1), activation(8, 1), activation(8, 1, replaying=True)], [3, 8]),
        # each task has a time of its own; a second activation of one task brings no events
        ([activation(3, 1), activation(9, 2), activation(14, 3)], [3, 9, 14]),
        ([activation(3, 1), activation(9, 2), activation(9, 2)], [3, 9, 9]),
        ([activation(3, 1, replaying=True), activation(9, 1, replaying=True)], [3, 9]),
    ],
)
def test_events_before_their_task_are_not_applied(
    activations: list[WorkflowActivation], seen: list[int]
) -> None:
    recorder = Recorder()
    guarded = QueryGuard(recorder).create_instance(cast("WorkflowInstanceDetails", None))
    completions = [guarded.activate(act) for act in activations]
    assert recorder.seen == seen
    failures = [one for one in completions if one.HasField("failed")]
    assert all(one.failed.failure.message == EARLY_EVENTS for one in failures)
    assert len(failures) == len(activations) - len(seen)


class EarlyHandle:
    """A handle whose first queries come too early."""

    def __init__(self, failures: list[str]) -> None:
        self.failures = failures

    async def query(self, name: str, **_: Any) -> str:
        if self.failures:
            raise WorkflowQueryFailedError(self.failures.pop(0))
        return name


@pytest.mark.parametrize(
    ("failures", "is_answered"),
    [
        ([EARLY_EVENTS] * 3, True),
        ([EARLY_EVENTS] * EARLY_QUERY_TRIES, False),
        ([EARLY_EVENTS, "the run is not open yet"], False),
    ],
)
async def test_an_early_query_is_sent_again(
    failures: list[str], is_answered: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("outlast.temporal.queries.EARLY_QUERY_RETRY_S", 0.0)
    handle: Any = EarlyHandle(failures)
    asked = query(handle, "progress", rpc_timeout=timedelta(seconds=1))
    if is_answered:
        assert await asked == "progress"
        return
    with pytest.raises(WorkflowQueryFailedError):
        await asked


PATCHING = 20
"""The length of a history at which the run uses a patch."""

LOCAL = {"schedule_local_activity": {"seq": 4}}
RESULT = {"resolve_activity": {"seq": 4}}
OTHER = {"resolve_activity": {"seq": 3}}
QUERY: dict[str, Any] = {"query_workflow": {"query_id": "q"}}
UPDATE: dict[str, Any] = {"do_update": {"id": "u"}}
SIGNAL: dict[str, Any] = {"signal_workflow": {"signal_name": "say"}}


class Scheduler(Recorder):
    """A runner whose instances schedule a local activity at the first activation."""

    def activate(self, act: WorkflowActivation) -> WorkflowActivationCompletion:
        self.seen.append(act.history_length)
        commands: list[dict[str, Any]] = [LOCAL] if len(self.seen) == 1 else []
        if act.history_length == PATCHING:
            commands.append({"set_patch_marker": {"patch_id": "new"}})
        return ParseDict({"successful": {"commands": commands}}, WorkflowActivationCompletion())


def with_jobs(length: int, at_s: int, *jobs: dict[str, Any]) -> WorkflowActivation:
    act = activation(length, at_s)
    for job in jobs:
        act.jobs.append(ParseDict(job, WorkflowActivationJob()))
    return act


@pytest.mark.parametrize(
    ("activations", "is_failed"),
    [
        # a query while the local activity runs; its result comes with something else in the next task
        ([with_jobs(3, 1, QUERY), with_jobs(9, 2, UPDATE, RESULT)], True),
        ([with_jobs(3, 1, QUERY), with_jobs(9, 2, SIGNAL, RESULT)], True),
        ([with_jobs(3, 1, QUERY), with_jobs(9, 2, OTHER, RESULT, QUERY)], True),
        # alone, the result is in the same order in a replay, but a patch is not found there
        ([with_jobs(3, 1, QUERY), with_jobs(9, 2, RESULT)], False),
        ([with_jobs(3, 1, QUERY), with_jobs(9, 2, QUERY, RESULT)], False),
        ([with_jobs(3, 1, QUERY), with_jobs(PATCHING, 2, RESULT)], True),
        ([with_jobs(3, 1, QUERY), with_jobs(3, 1, RESULT), with_jobs(PATCHING, 2, UPDATE)], False),
        # without a query, or in the same task, the SDK keeps the order
        ([with_jobs(3, 1, RESULT)], False),
        ([with_jobs(9, 2, UPDATE, RESULT)], False),
        ([with_jobs(3, 1, RESULT), with_jobs(3, 1, QUERY), with_jobs(9, 2, UPDATE, OTHER)], False),
        ([with_jobs(3, 1, QUERY), with_jobs(3, 1, RESULT), with_jobs(9, 2, UPDATE)], False),
    ],
)
def test_a_result_that_a_query_delayed_is_not_applied_with_other_events(
    activations: list[WorkflowActivation], is_failed: bool
) -> None:
    scheduler = Scheduler()
    guarded = QueryGuard(scheduler).create_instance(cast("WorkflowInstanceDetails", None))
    completions = [guarded.activate(act) for act in [activation(3, 1), *activations]]
    failed = [one.failed.failure.message for one in completions if one.HasField("failed")]
    assert failed == ([LATE_RESULT] if is_failed else [])

"""A query that brings events of a task that has not started: it fails, and the run does not see them."""

from datetime import timedelta
from typing import Any, cast

import pytest
from temporalio.bridge.proto.workflow_activation import WorkflowActivation
from temporalio.client import WorkflowQueryFailedError
from temporalio.worker import WorkflowInstance, WorkflowInstanceDetails, WorkflowRunner

from outlast.queries import EARLY_EVENTS, EARLY_QUERY_TRIES, query
from outlast.query_guard import QueryGuard


class Recorder(WorkflowRunner):
    """A runner whose instances record the length of the history at each activation."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def prepare_workflow(self, defn: Any) -> None:
        pass

    def create_instance(self, det: WorkflowInstanceDetails) -> WorkflowInstance:
        return cast("WorkflowInstance", self)

    def activate(self, act: WorkflowActivation) -> str:
        self.seen.append(act.history_length)
        return "activated"


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
    failures = [one for one in completions if one != "activated"]
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
    monkeypatch.setattr("outlast.queries.EARLY_QUERY_RETRY_S", 0.0)
    handle: Any = EarlyHandle(failures)
    asked = query(handle, "progress", rpc_timeout=timedelta(seconds=1))
    if is_answered:
        assert await asked == "progress"
        return
    with pytest.raises(WorkflowQueryFailedError):
        await asked

"""Keeps a query from changing what a run does.

The server may send a worker a query together with events whose workflow task has not started yet. The SDK
applies them at once (seen with temporalio 1.35; related to sdk-rust issue 1146). If an update arrives with
that task, the run handles the update after those events, but before them when it replays. Then each later
task of the run fails, and the run hangs.

So a run that gets such events is dropped from the worker's cache, and the query fails: its sender repeats
it. The workflow task is not affected.
"""

from typing import Any

from temporalio.bridge.proto.workflow_activation import WorkflowActivation, WorkflowActivationJob
from temporalio.bridge.proto.workflow_completion import WorkflowActivationCompletion
from temporalio.worker import WorkflowInstance, WorkflowInstanceDetails, WorkflowRunner
from temporalio.workflow import Info

from outlast.temporal.queries import EARLY_EVENTS

LATE_RESULT = "a query has delayed the result of a local activity: repeat the workflow task"
"""Why a workflow task fails whose order of events could not be replayed."""


UNREPLAYABLE = ("set_patch_marker", "cancel_timer", "request_cancel_activity")
"""Commands after a delayed result that a replay, which has the result a task earlier, gives otherwise."""


class LocalResults:
    """The local activities of a run, and whether a query has delayed the result of one.

    If a query comes with a workflow task, the SDK completes the task once the query is answered, also while
    a local activity runs. If its result comes in that moment, the SDK records it in that task, but gives
    it to the run in the next one, after the messages that arrived meanwhile. A replay has the result first.
    """

    def __init__(self) -> None:
        self._running: set[int] = set()
        self._is_queried = False

    def is_late(self, act: WorkflowActivation, *, is_new_task: bool) -> bool:
        """Return whether an activation has a result that a query may have delayed."""
        was_queried = self._is_queried and is_new_task and not act.is_replaying
        if is_new_task:
            self._is_queried = False
        return was_queried and any(map(self._is_result, act.jobs))

    def is_alone(self, act: WorkflowActivation) -> bool:
        """Return whether an activation has nothing else than results and queries."""
        return all(self._is_result(job) or job.HasField("query_workflow") for job in act.jobs)

    def note(self, act: WorkflowActivation, completion: WorkflowActivationCompletion) -> None:
        """Note which local activities run, and whether there was a query meanwhile."""
        if self._running and any(job.HasField("query_workflow") for job in act.jobs):
            self._is_queried = True
        for job in act.jobs:
            if self._is_result(job):
                self._running.discard(job.resolve_activity.seq)
        for command in completion.successful.commands:
            if command.HasField("schedule_local_activity"):
                self._running.add(command.schedule_local_activity.seq)

    def _is_result(self, job: WorkflowActivationJob) -> bool:
        return job.HasField("resolve_activity") and job.resolve_activity.seq in self._running


class QueryGuard(WorkflowRunner):
    """Runs workflows with another runner, and stops events that precede their workflow task."""

    def __init__(self, runner: WorkflowRunner) -> None:
        self._runner = runner

    def prepare_workflow(self, defn: Any) -> None:
        """Prepare a workflow class."""
        self._runner.prepare_workflow(defn)

    def create_instance(self, det: WorkflowInstanceDetails) -> WorkflowInstance:
        """Return a run of a workflow."""
        return _GuardedInstance(self._runner.create_instance(det))


def _late() -> WorkflowActivationCompletion:
    completion = WorkflowActivationCompletion()
    completion.failed.failure.message = LATE_RESULT
    return completion


class _GuardedInstance(WorkflowInstance):
    def __init__(self, instance: WorkflowInstance) -> None:
        self._instance = instance
        self._history_length = 0
        self._task_started_ns = 0
        self._local = LocalResults()

    def activate(self, act: WorkflowActivation) -> WorkflowActivationCompletion:
        """Let the run go on, or fail the query that brought events too early.

        A workflow task has the time at which it started. Events of a task that has not started come with
        the time of the task before.
        """
        started_ns = act.timestamp.ToNanoseconds()
        is_early = (
            not act.is_replaying
            and act.history_length > self._history_length > 0
            and started_ns == self._task_started_ns
        )
        if is_early:
            completion = WorkflowActivationCompletion()
            completion.failed.failure.message = EARLY_EVENTS
            return completion
        is_new_task = act.history_length != self._history_length
        self._history_length, self._task_started_ns = act.history_length, started_ns
        is_late = self._local.is_late(act, is_new_task=is_new_task)
        if is_late and not self._local.is_alone(act):
            return _late()
        completion = self._instance.activate(act)
        if is_late and any(
            command.WhichOneof("variant") in UNREPLAYABLE
            for command in completion.successful.commands
        ):
            return _late()
        self._local.note(act, completion)
        return completion

    def get_serialization_context(self, command_info: Any) -> Any:
        return self._instance.get_serialization_context(command_info)

    def get_external_store_context(self, command_info: Any) -> Any:
        return self._instance.get_external_store_context(command_info)

    def get_info(self) -> Info:
        return self._instance.get_info()

    def get_thread_id(self) -> int | None:
        return self._instance.get_thread_id()

"""Keeps a query from changing what a run does.

The server may send a worker a query together with events whose workflow task has not started yet. The SDK
applies them at once (seen with temporalio 1.35; related to sdk-rust issue 1146). If an update arrives with
that task, the run handles the update after those events, but before them when it replays. Then each later
task of the run fails, and the run hangs.

So a run that gets such events is dropped from the worker's cache, and the query fails: its sender repeats
it. The workflow task is not affected.
"""

from typing import Any

from temporalio.bridge.proto.workflow_activation import WorkflowActivation
from temporalio.bridge.proto.workflow_completion import WorkflowActivationCompletion
from temporalio.worker import WorkflowInstance, WorkflowInstanceDetails, WorkflowRunner
from temporalio.workflow import Info

from outlast.queries import EARLY_EVENTS


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


class _GuardedInstance(WorkflowInstance):
    def __init__(self, instance: WorkflowInstance) -> None:
        self._instance = instance
        self._history_length = 0
        self._task_started_ns = 0

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
        self._history_length, self._task_started_ns = act.history_length, started_ns
        return self._instance.activate(act)

    def get_serialization_context(self, command_info: Any) -> Any:
        return self._instance.get_serialization_context(command_info)

    def get_external_store_context(self, command_info: Any) -> Any:
        return self._instance.get_external_store_context(command_info)

    def get_info(self) -> Info:
        return self._instance.get_info()

    def get_thread_id(self) -> int | None:
        return self._instance.get_thread_id()

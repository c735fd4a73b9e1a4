"""The workflow of a pipeline: its handlers and queries. `PipelineExecution` does the work.

Each worker of runs serves pipelines, and few of them run one. This module loads nothing of pipelines before
a run begins, because their tasks and expressions take 50 ms of a worker's start.
"""

from typing import TYPE_CHECKING

from temporalio import workflow
from temporalio.common import RawValue

from outlast.contracts.human import PendingRequest
from outlast.contracts.names import PIPELINE_WORKFLOW
from outlast.contracts.pipeline_results import PipelineProgress, PipelineResult
from outlast_workflows.agent import ignores_several_inputs
from outlast_workflows.outcome import failure_of
from outlast_workflows.payloads import NO_INPUT
from outlast_workflows.people.commands import takes_decisions

if TYPE_CHECKING:
    from outlast_workflows.pipelines.execution import PipelineExecution


@workflow.defn(name=PIPELINE_WORKFLOW, sandboxed=False)
@takes_decisions
class PipelineWorkflow:
    """Runs one pipeline. The handlers of `decide` are in `people.commands`."""

    @workflow.init
    @ignores_several_inputs
    def __init__(self, request: RawValue = NO_INPUT) -> None:
        self._execution = _new_execution(request)
        self.target = self._execution.target

    @workflow.run
    async def run(self, request: RawValue = NO_INPUT) -> PipelineResult:
        """Return the result of the pipeline; `request` is the JSON of a `PipelineRequest`.

        Every run ends: `failure_of` makes a `Failure` of an exception that nobody expects.
        """
        try:
            return await self._execution.run(request)
        except Exception as error:  # noqa: BLE001 the SDK would repeat the workflow task without end
            raise failure_of(error) from None

    @workflow.signal(name="event", description='Adds a CloudEvent: {"type": "…", "data": {}}.')
    async def receive_event(self, payload: RawValue = NO_INPUT) -> None:
        """Keep an event for a `listen`. One that is invalid, or one too many, is logged and dropped."""
        self._execution.receive_event(payload)

    @workflow.query
    def progress(self) -> PipelineProgress:
        """Return which tasks run now, and what the pipeline has used."""
        return self._execution.progress()

    @workflow.query
    def pending_requests(self) -> list[PendingRequest]:
        """Return the human requests that are not settled."""
        return list(self.target.inbound.pending.values())


def _new_execution(request: RawValue) -> "PipelineExecution":
    from outlast_workflows.pipelines.execution import PipelineExecution  # noqa: PLC0415 see the module's docstring

    return PipelineExecution(request)

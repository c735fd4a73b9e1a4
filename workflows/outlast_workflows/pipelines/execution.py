"""One execution of a pipeline, from its opening to its end. `PipelineWorkflow` holds the handlers."""

import asyncio
from typing import NoReturn

from pydantic import JsonValue
from temporalio import workflow
from temporalio.common import RawValue

from outlast.contracts.agents import PinnedAgent
from outlast.contracts.pipeline_results import PipelineProgress, PipelineResult
from outlast.contracts.results import StopReason
from outlast.errors import BadRequest, Failure, PipelineFailed
from outlast.pipelines.documents import check_document
from outlast.pipelines.requests import PipelineEvent
from outlast.text.json_text import to_json
from outlast_workflows.calls.tool_calls import CallDenied
from outlast_workflows.outcome import failure_of
from outlast_workflows.payloads import parse_payload
from outlast_workflows.people.commands import CommandTarget
from outlast_workflows.people.conversation import Replies
from outlast_workflows.pipelines.events import add_event
from outlast_workflows.pipelines.run import PipelineRun
from outlast_workflows.pipelines.start import open_pipeline, restored_pipeline
from outlast_workflows.pipelines.state import PipelineState
from outlast_workflows.pipelines.task_errors import TaskError
from outlast_workflows.run_start import check_handed_over
from outlast_workflows.state import InboundState
from outlast_workflows.time_limits import are_named


class PipelineTarget(CommandTarget):
    """The pipeline whose requests people decide."""

    pipeline: PipelineRun | None = None

    @property
    def agent(self) -> PinnedAgent | None:
        """The tools of the pipeline, or None before it is open."""
        return self.pipeline.state.run.agent if self.pipeline else None


class PipelineExecution:
    """One execution of a pipeline. Decisions and events may arrive before it is open."""

    def __init__(self, request: RawValue) -> None:
        self._restored_state: PipelineState | None = None
        self._rejection: Failure | None = None
        self._early_events: list[dict[str, JsonValue]] = []
        inbound = InboundState()
        try:
            self._restored_state, inbound = restored_pipeline(request) or (None, inbound)
        except Exception as error:  # noqa: BLE001 `run` raises it; here it would block the run
            self._rejection = failure_of(error)
        self.target = PipelineTarget(inbound, Replies())

    async def run(self, request: RawValue) -> PipelineResult:
        """Return the result of the pipeline, or raise why it failed."""
        are_named()
        try:
            await self._open(request)
            result = await self._opened().run()
        except asyncio.CancelledError:
            result = await self._stop("cancelled")
        except CallDenied:
            result = await self._stop("denied")
        except TaskError as error:
            await self._fail(PipelineFailed(error.line(), error.as_json()))
        except Exception as error:  # noqa: BLE001 see `failure_of`
            await self._fail(failure_of(error))
        # Decisions that arrive from here on are still accepted, and have no effect.
        await workflow.wait_condition(workflow.all_handlers_finished)
        return result

    def receive_event(self, payload: RawValue) -> None:
        """Keep an event for a `listen`. One that is invalid, or one too many, is logged and dropped."""
        try:
            event = parse_payload(PipelineEvent, payload, "event")
        except Exception as error:  # noqa: BLE001 a signal that fails blocks the run
            _log_rejection(error)
        else:
            self._keep(event)

    def progress(self) -> PipelineProgress:
        """Return which tasks run now, and what the pipeline has used. Raises `BadRequest` if not open."""
        return self._opened().display.pipeline_progress()

    async def _open(self, request: RawValue) -> None:
        # The handlers run from the first workflow task on, also while the tools are looked up. They change
        # the inbound state and the early events, and nothing else.
        if self._rejection is not None:
            raise self._rejection
        if self._restored_state is None:
            state, pipeline = await open_pipeline(request)
        else:
            state = self._restored_state
            await check_handed_over(None)
            pipeline = check_document(state.document)
        self.target.pipeline = PipelineRun(pipeline, state, self.target.inbound)
        for event in self._early_events:
            self._keep(PipelineEvent.model_validate(event))
        self._early_events.clear()

    async def _stop(self, reason: StopReason) -> PipelineResult:
        pipeline = self.target.pipeline
        if pipeline is None:
            return PipelineResult(status="stopped", stop_reason=reason)
        compensations = await pipeline.compensate()
        return pipeline.stopped(reason).model_copy(update={"compensations": compensations})

    async def _fail(self, error: Failure) -> NoReturn:
        message, details = str(error.message), error.details
        if self.target.pipeline is not None:
            compensations = await self.target.pipeline.compensate()
            for each in compensations:
                message += f"; {each.tool} (call {each.call_id}): {each.outcome}"
            self.target.pipeline.display.show("failed", message)
        await workflow.wait_condition(workflow.all_handlers_finished)
        raise Failure(message, *details, kind=error.type) from None

    def _opened(self) -> PipelineRun:
        if self.target.pipeline is None:
            raise BadRequest("the pipeline is not open yet: its tools are being looked up")
        return self.target.pipeline

    def _keep(self, event: PipelineEvent) -> None:
        """Keep an event, also before the pipeline is open. One too many is logged and dropped."""
        pipeline = self.target.pipeline
        events = self._early_events if pipeline is None else pipeline.state.events
        size, total = len(event.model_dump_json()), sum(len(to_json(each)) for each in events)
        try:
            add_event(events, event, size=size, total=total)
        except BadRequest as error:
            _log_rejection(error)


def _log_rejection(error: Exception) -> None:
    rejection = {"signal": "event", "reason": failure_of(error).message}
    workflow.logger.warning("signal.rejected", extra=rejection)

"""The workflow of an agent: its handlers and queries, and the life of a run from opening to end."""

import asyncio
import functools
from collections.abc import Callable
from typing import Any, NoReturn

from pydantic import JsonValue
from temporalio import workflow
from temporalio.common import RawValue

from outlast.contracts.agents import PinnedAgent
from outlast.contracts.human import PendingRequest
from outlast.contracts.messages import TranscriptPage
from outlast.contracts.names import AGENT_WORKFLOW
from outlast.contracts.requests import ReplyPayload, TranscriptQuery
from outlast.contracts.results import AgentResult, FailedRun, Progress, StopReason
from outlast.errors import BadRequest, Failure
from outlast.transcripts import page
from outlast_workflows.calls.tool_calls import CallDenied
from outlast_workflows.outcome import carryable, failure_of
from outlast_workflows.payloads import NO_INPUT, parse_payload
from outlast_workflows.people.commands import CommandTarget, takes_commands
from outlast_workflows.people.conversation import Answer, Replies
from outlast_workflows.run import AgentRun
from outlast_workflows.run_start import check_restored, mode_of, open_run, restored
from outlast_workflows.state import InboundState, RunState


def ignores_several_inputs(init: Callable[[Any, RawValue], None]) -> Callable[..., None]:
    """Ignore several inputs, which the plugin rejects later: an error in `__init__` would block the run."""

    @functools.wraps(init)
    def init_with_one_input(self: Any, *inputs: RawValue) -> None:
        init(self, inputs[0] if len(inputs) == 1 else NO_INPUT)

    return init_with_one_input


@workflow.defn(name=AGENT_WORKFLOW, sandboxed=False)
@takes_commands
class AgentWorkflow:
    """Runs one agent for one request. The handlers of commands are in `people.commands`."""

    @workflow.init
    @ignores_several_inputs
    def __init__(self, request: RawValue = NO_INPUT) -> None:
        self._restored_state: RunState | None = None
        self._rejection: Failure | None = None
        inbound = InboundState()
        try:
            self._restored_state, inbound = restored(request) or (None, inbound)
        except Exception as error:  # noqa: BLE001 `run` raises it; here it would block the run
            self._rejection = failure_of(error)
        carried = self._restored_state
        self.target = CommandTarget(
            inbound, Replies(), early_mode=lambda: carried.mode if carried else mode_of(request)
        )

    @workflow.run
    async def run(self, request: RawValue = NO_INPUT) -> AgentResult:
        """Return the result of the run; `request` is the JSON of an `AgentRequest`.

        Every run ends: `failure_of` makes a `Failure` of an exception that nobody expects.
        """
        try:
            return await self._run_to_end(request)
        except Exception as error:  # noqa: BLE001 the SDK would repeat the workflow task without end
            raise failure_of(error) from None

    async def _run_to_end(self, request: RawValue) -> AgentResult:
        """Open the run, take its turns and end it.

        The deadline, a cancellation and a denial end the run with a result, a failure ends it as failed.
        All of them can come out of each await in the `try` block.
        """
        try:
            state = await self._open(request)
            self.target.run = AgentRun(state, self.target.inbound, self.target.replies)
            result = await self.target.run.take_turns()
        except TimeoutError:
            result = self._stop("deadline")
        except asyncio.CancelledError:
            result = self._stop("cancelled")
        except CallDenied:
            result = self._stop("denied")
        except Exception as error:  # noqa: BLE001 see `failure_of`
            await self._fail(failure_of(error))
        return await self._end(result)

    async def _open(self, request: RawValue) -> RunState:
        """Return the state of the run: a new one, or the one that the run before handed over."""
        # Handlers of commands run from the first workflow task on, also while the agent is looked up.
        # They change `target.inbound`, which exists before and stays the same object.
        if self._rejection is not None:
            raise self._rejection
        if self._restored_state is None:
            return await open_run(request)
        await check_restored(self._restored_state)
        return self._restored_state

    def _stop(self, reason: StopReason) -> AgentResult:
        if self.target.run is None:
            return AgentResult(status="stopped", stop_reason=reason)
        return self.target.run.stopped(reason)

    async def _end(self, result: AgentResult) -> AgentResult:
        """End a run in three steps, and return its result with the compensations.

        1. Release the callers of `reply`: they do not wait for the compensation, and new messages are
           rejected from here on.
        2. Compensate, unless the run has completed. Decisions are still accepted, because people may have
           to decide about an effect that could not be undone.
        3. Wait until every handler has returned, so that no update is lost.
        """
        run, replies = self.target.run, self.target.replies
        outcome = result.stop_reason or result.status
        replies.release_waiters(outcome)
        if run is not None and result.stop_reason is not None:
            compensations = await run.compensate()
            if compensations:
                result = run.stopped(result.stop_reason)
                result = result.model_copy(update={"compensations": compensations})
        await replies.end(outcome)
        return carryable(result)

    async def _fail(self, error: Failure) -> NoReturn:
        """End a run as failed, in the three steps of `_end`."""
        run, replies = self.target.run, self.target.replies
        message = str(error.message)
        replies.release_waiters(f"failed: {message}")
        if run is not None:
            compensations = await run.compensate()
            if compensations:
                outcomes = (
                    f"{each.tool} (call {each.call_id}): {each.outcome}" for each in compensations
                )
                message = f"{message}; {', '.join(outcomes)}"
            run.show_failure(message)
        await replies.end(f"failed: {message}")
        # A caller counts what a failed run has used.
        details = [] if run is None else [FailedRun(usage=run.state.spending.usage)]
        raise Failure(message, *details, kind=error.type) from None

    @workflow.update(name="reply", description="Waits for the answer to all messages.")
    async def reply(self, payload: RawValue = NO_INPUT) -> JsonValue:
        """Wait until all messages are answered, and return the answer."""
        del payload
        try:
            return await self.target.replies.next_answer(self._current_answer)
        except Exception as error:  # noqa: BLE001 an update that fails otherwise blocks the run
            raise failure_of(error) from None

    @reply.validator
    def check_reply(self, payload: RawValue = NO_INPUT) -> None:
        """Reject a payload with fields, and a caller beyond `MAX_WAITING`."""
        parse_payload(ReplyPayload, payload, "reply")
        self.target.replies.check_capacity()

    def _current_answer(self) -> Answer | None:
        return self.target.run.current_answer() if self.target.run else None

    @workflow.query
    def progress(self) -> Progress:
        """Return what the run does now, and what it has used."""
        return self._opened_run().display.progress()

    @workflow.query
    def pending_requests(self) -> list[PendingRequest]:
        """Return the human requests that are not settled."""
        return list(self.target.inbound.pending.values())

    @workflow.query
    def transcript(self, query: RawValue = NO_INPUT) -> TranscriptPage:
        """Return entries of the transcript from `since`, and where the next page starts."""
        wanted = parse_payload(TranscriptQuery, query, "transcript")
        messages = self._opened_run().state.transcript.messages
        return page(messages, wanted.since, opaque=wanted.opaque)

    @workflow.query
    def agent(self) -> PinnedAgent:
        """Return the agent of this run, with its tools and its route."""
        return self._opened_run().state.agent

    def _opened_run(self) -> AgentRun:
        if self.target.run is None:
            raise BadRequest(
                "the run is not open yet: its agent is being looked up, or was rejected"
            )
        return self.target.run

"""The workflow of an agent's run: turn after turn until an answer, a limit or a person ends it."""

import asyncio
import contextlib
from collections.abc import Coroutine, Mapping
from datetime import timedelta
from typing import Any, Literal, NoReturn

from outlast_activities.generation.activity import ModelActivities
from pydantic import JsonValue
from temporalio import workflow
from temporalio.common import RawValue
from temporalio.exceptions import ActivityError, is_cancelled_exception
from temporalio.workflow import ActivityConfig

from outlast.contracts.agents import Leg, PinnedAgent
from outlast.contracts.generation import Generation
from outlast.contracts.human import PendingRequest
from outlast.contracts.messages import TranscriptPage
from outlast.contracts.names import AGENT_WORKFLOW
from outlast.contracts.requests import ReplyPayload, TranscriptQuery
from outlast.contracts.results import AgentResult, CompensationOutcome, Progress, StopReason, Usage
from outlast.errors import BadRequest, ContinuedAsNew, Failure, ModelError
from outlast.jsonschema.schemas import Schema
from outlast.start_requests import tenant_priority
from outlast.transcripts import decision_message, page, user_message
from outlast_workflows.activity_options import Step, generate_options, was_not_served
from outlast_workflows.budget import Ask, Spent, Stop, plan_turn, usage_of
from outlast_workflows.display_text import call_summary, pause_text
from outlast_workflows.effects import Effects
from outlast_workflows.generate_input import question_of
from outlast_workflows.legs import Legs
from outlast_workflows.payloads import NOTHING
from outlast_workflows.people.conversation import Replies, heard_more
from outlast_workflows.people.handlers import Steerable, typed
from outlast_workflows.people.notifications import Notifying
from outlast_workflows.people.requests import MAX_TRAIL, Requests
from outlast_workflows.run_display import Presence
from outlast_workflows.run_start import open_run
from outlast_workflows.state import RunState, carry
from outlast_workflows.step_failures import cause_of, model_failure_of, tokens_of
from outlast_workflows.tool_calls import Calls

PAUSE_TIMEOUT = timedelta(days=30)
"""How long a paused run waits to be resumed before it stops."""

BUILD_OF_TASK = workflow.ContinueAsNewVersioningBehavior.UNSPECIFIED
BUILD_OF_CONVERSATION = workflow.ContinueAsNewVersioningBehavior.AUTO_UPGRADE
"""A task keeps the build that it began with; a conversation may live for weeks, and goes to the current."""


@workflow.defn(name=AGENT_WORKFLOW, sandboxed=False)
class AgentWorkflow(Steerable):
    """Runs one agent for one request, and carries all of its state."""

    def __init__(self) -> None:
        super().__init__()
        self._state: RunState | None = None
        self._presence: Presence | None = None
        self._asking: asyncio.Task[Generation] | None = None
        self._interrupted = False
        self._replies = Replies()
        self._effects: Effects | None = None
        self._main: asyncio.Task[Any] | None = None

    @workflow.run
    async def run(self, request: RawValue = NOTHING) -> AgentResult:
        """Return the outcome of the run; `request` is the JSON of an `AgentRequest`."""
        self._main = asyncio.current_task()
        try:
            state, self._steering = await open_run(request, self._steering)
            self._state, self._presence = state, Presence(state, self._steering)
            async with asyncio.timeout(state.deadline_in(workflow.now())):
                result = await self._turns(state, self._presence)
        except TimeoutError:
            result = self._stopped("deadline")
        except Failure as error:
            await self._fail(error)
        except asyncio.CancelledError:
            result = self._stopped("cancelled")
        self._replies.let_go(result.stop_reason or result.status)
        result = await self._undone(result)
        await self._replies.end(result.stop_reason or result.status)
        return result

    async def _undone(self, result: AgentResult) -> AgentResult:
        """Undo what a run did that did not complete."""
        if result.status == "completed" or self._effects is None or not self._effects.are_undoable:
            return result
        undone = await _shielded(self._effects.undo())
        ended = self._ended(result.status, reason=result.stop_reason)
        return ended.model_copy(update={"compensations": undone})

    async def _fail(self, error: Failure) -> NoReturn:
        """End the run with an error, once what it did is undone."""
        said = str(error.message)
        self._replies.let_go(f"failed: {said}")
        if self._effects is not None and self._effects.are_undoable:
            undone = await _shielded(self._effects.undo())
            each = ", ".join(f"{one.tool} (call {one.call_id}): {one.outcome}" for one in undone)
            said = f"{said}; {each}"
        self._show_failure(said)
        await self._replies.end(f"failed: {said}")
        raise Failure(said, kind=error.type) from None

    async def _turns(self, state: RunState, presence: Presence) -> AgentResult:
        priority = tenant_priority(state.tenant)
        requests = Requests(self._steering, presence, Notifying(state), state.agent.keys)
        self._effects = Effects(state, presence, requests, priority)
        calls = Calls(state, requests, self._effects, priority)
        while True:  # bounded by plan_turn: each pass takes a turn, and turns have a limit
            if not await self._resumed(presence):
                return self._stopped("deadline")
            self._hear(state)
            if not state.messages:
                # A conversation that begins with the first message.
                if not await heard_more(state, self._steering, presence):
                    return self._stopped("cancelled" if self._steering.finished else "deadline")
                continue
            plan = _plan(state)
            if isinstance(plan, Stop):
                return self._stopped(plan.reason)
            await self._continue_as_new_if_due(state)
            generation = await self._generate(state, presence, plan)
            if generation is None:
                continue
            decision = generation.decision
            if decision is None:
                return self._stopped(generation.out_of or "tokens")
            if decision.tool_calls:
                presence.show("acting", " · ".join(map(call_summary, decision.tool_calls)))
                await calls.run(decision.tool_calls)
                continue
            # What an answer was given about is done: nothing of it is undone later.
            state.undo.clear()
            if not await self._goes_on(state, presence):
                return self._ended("completed", output=decision.answer)

    async def _generate(self, state: RunState, presence: Presence, plan: Ask) -> Generation | None:
        """Take a turn: ask the model for a decision. Return None if a person interrupted it."""
        state.turn += 1
        presence.show("thinking", f"turn {state.turn}")
        self._interrupted = False
        self._asking = asyncio.create_task(self._ask_model(state, plan))
        try:
            generation = await self._asking
        except (asyncio.CancelledError, ActivityError) as error:
            # A cancellation of the run, or its deadline, may come with an interruption: it wins.
            if self._is_cancelled():
                raise asyncio.CancelledError from error
            if self._interrupted:
                return None
            if is_cancelled_exception(error):
                raise asyncio.CancelledError from error
            raise ModelError(
                f"turn {state.turn}: {cause_of(error)}", kind=model_failure_of(error)
            ) from None
        finally:
            self._asking = None
        # A call that is waited for takes a cancellation in and answers: with what it used, or with an
        # answer that came first, and that nobody wants any more.
        if self._is_cancelled():
            raise asyncio.CancelledError
        if self._interrupted:
            return None
        if generation.decision is not None:
            state.add(decision_message(generation.decision))
            state.sent = len(state.messages)
        return generation

    async def _ask_model(self, state: RunState, plan: Ask) -> Generation:
        step = Step(str(state.turn), f"turn {state.turn} · decide", tenant_priority(state.tenant))
        state.last_usage = Usage()

        async def start(leg: Leg) -> Generation:
            try:
                generation = await workflow.execute_activity_method(
                    ModelActivities.generate,
                    question_of(state, plan, leg),
                    **_options(state, step, leg),
                )
            except ActivityError as error:
                state.use(usage_of(tokens_of(error), leg))
                raise
            state.use(usage_of(generation, leg))
            return generation

        generation = await Legs(state).serve(
            state.agent.route,
            what=f"turn {state.turn}",
            start=start,
            waited_s=lambda generation: generation.waited_s,
            moves_on=lambda error: not self._is_stopping() and was_not_served(error),
        )
        state.last_prompt_tokens = generation.last_prompt_tokens
        return generation

    async def _goes_on(self, state: RunState, presence: Presence) -> bool:
        """Tell whether somebody has more to say after an answer, and turns to say it in are left."""
        if isinstance(_plan(state), Stop):
            return False
        if state.mode == "conversation":
            return await heard_more(state, self._steering, presence)
        return bool(self._steering.inbox)

    async def _resumed(self, presence: Presence) -> bool:
        paused = self._steering.paused
        if paused is None:
            return True
        presence.show("paused", pause_text(paused.by, paused.reason))
        try:
            await workflow.wait_condition(
                lambda: self._steering.paused is None,
                timeout=PAUSE_TIMEOUT,
                timeout_summary="pause ends the run",
            )
        except TimeoutError:
            return False
        return True

    def _hear(self, state: RunState) -> None:
        for message in self._steering.inbox:
            state.add(user_message(message.text))
        self._steering.inbox.clear()

    async def _continue_as_new_if_due(self, state: RunState) -> None:
        """Go on as a new run where the server suggests it, or a conversation has a newer build to go to."""
        info, stays = workflow.info(), state.mode == "task"
        is_outdated = not stays and info.is_target_worker_deployment_version_changed()
        if not (is_outdated or info.is_continue_as_new_suggested()):
            return
        await self._replies.end(ContinuedAsNew.__name__)
        workflow.continue_as_new(
            carry(state, self._steering),
            initial_versioning_behavior=BUILD_OF_TASK if stays else BUILD_OF_CONVERSATION,
        )

    def _stopped(self, reason: StopReason) -> AgentResult:
        return self._ended("stopped", reason=reason)

    def _ended(
        self,
        status: Literal["completed", "stopped"],
        *,
        output: JsonValue = None,
        reason: StopReason | None = None,
    ) -> AgentResult:
        if self._state is None or self._presence is None:
            return AgentResult(status=status, stop_reason=reason)
        self._presence.show(status, reason or "answered")
        return AgentResult(
            status=status,
            output=output,
            stop_reason=reason,
            turns=self._state.turn,
            tool_calls=self._state.tool_calls,
            usage=self._state.usage,
            decisions=list(self._steering.settled.values())[-MAX_TRAIL:],
            legs=list(self._state.legs.values()),
        )

    def _is_cancelled(self) -> bool:
        """Tell whether the run was cancelled, or its deadline has passed."""
        return self._main is not None and self._main.cancelling() > 0

    def _is_stopping(self) -> bool:
        """Tell whether nobody wants the model call in flight any more."""
        return self._interrupted or self._is_cancelled()

    @workflow.update(name="reply")
    async def reply(self, payload: RawValue = NOTHING) -> JsonValue:
        """Wait until all that was said is answered, and return the answer."""
        del payload
        return await self._replies.next(lambda: self._state, lambda: self._steering)

    @reply.validator
    def check_reply(self, payload: RawValue = NOTHING) -> None:
        """Refuse a payload that says something."""
        typed(ReplyPayload, payload, "reply")
        self._replies.check()

    def interrupt(self) -> bool:
        """Cancel the model call in flight; return whether there was one."""
        if self._asking is None:
            return False
        self._interrupted = True
        return self._asking.cancel()

    def hears(self) -> bool:
        """Tell whether there is another turn to hear a message in."""
        return not self._replies.are_over

    def is_conversation(self) -> bool:
        """Tell whether `finish` means anything to this run."""
        return self._state is None or self._state.mode == "conversation"

    def parameters_of(self, tool: str) -> Schema | None:
        """Return the schema of a tool's arguments, which those of an edit must keep."""
        spec = self._state.agent.tool(tool) if self._state else None
        return spec.parameters if spec else None

    def keys_of(self, audience: str) -> Mapping[str, str]:
        """Return the public keys of an audience that decides by signature."""
        return self._state.agent.keys.get(audience, {}) if self._state else {}

    def _show_failure(self, cause: str) -> None:
        if self._presence is not None:
            self._presence.show("failed", cause)

    # Queries.

    @workflow.query
    def progress(self) -> Progress:
        """Return what the run does now and what it has used."""
        return self._opened()[1].progress()

    @workflow.query
    def pending_requests(self) -> list[PendingRequest]:
        """Return the questions to people that are not settled."""
        return list(self._steering.pending.values())

    @workflow.query
    def transcript(self, query: RawValue = NOTHING) -> TranscriptPage:
        """Return entries of the transcript from `since`, and where the next page begins."""
        since = 0 if query is NOTHING else typed(TranscriptQuery, query, "transcript").since
        return page(self._opened()[0].messages, since)

    @workflow.query
    def agent(self) -> PinnedAgent:
        """Return the agent as it was pinned."""
        return self._opened()[0].agent

    def _opened(self) -> tuple[RunState, Presence]:
        if self._state is None or self._presence is None:
            raise BadRequest("the run has not begun: its agent is being looked up, or was refused")
        return self._state, self._presence


def _plan(state: RunState) -> Ask | Stop:
    spent = Spent(
        turns=state.turn,
        calls=state.calls,
        usage=state.usage,
        last_prompt_tokens=state.last_prompt_tokens,
        last_usage=state.last_usage,
    )
    return plan_turn(state.agent.tools, state.limits, spent)


async def _shielded(
    undoing: Coroutine[Any, Any, list[CompensationOutcome]],
) -> list[CompensationOutcome]:
    """Finish what undoes a run, though the run is cancelled meanwhile: there is nothing left to stop."""
    task = asyncio.ensure_future(undoing)
    while not task.done():  # a run is cancelled once
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.shield(task)
    return task.result()


def _options(state: RunState, step: Step, leg: Leg) -> ActivityConfig:
    options = generate_options(step, leg, state.agent.route)
    is_bounded = state.limits.max_tokens is not None or state.limits.max_cost_usd is not None
    if is_bounded:
        # What a cancelled call has used is known once it has ended, and the limits hold for it too.
        options["cancellation_type"] = workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED
    return options

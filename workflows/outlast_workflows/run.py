"""An open run of an agent: the one owner of its state, and its turns until it ends."""

from datetime import timedelta
from typing import Literal

from pydantic import JsonValue
from temporalio import workflow

from outlast.contracts.generation import Generation
from outlast.contracts.limits import RunLimits
from outlast.contracts.messages import Decision
from outlast.contracts.results import AgentResult, CompensationOutcome, StopReason
from outlast.errors import ContinuedAsNew, RunTooLarge
from outlast.start_requests import tenant_priority
from outlast.transcripts import decision_message, user_message
from outlast_workflows.budget import StopRun, TakeTurn, plan_turn, share_of
from outlast_workflows.calls.call_keys import CallKeys
from outlast_workflows.calls.child_agents import ChildAgents
from outlast_workflows.calls.compensation import Compensation
from outlast_workflows.calls.handoffs import Handoffs
from outlast_workflows.calls.tool_activities import ToolActivities
from outlast_workflows.calls.tool_calls import ToolCalls
from outlast_workflows.display_text import call_summary, pause_text
from outlast_workflows.legs import Legs
from outlast_workflows.model_calls import ModelCalls
from outlast_workflows.output_check import OutputCheck
from outlast_workflows.people.conversation import (
    Answer,
    Replies,
    current_answer,
    wait_for_message,
)
from outlast_workflows.people.human_requests import MAX_DECISIONS, HumanRequests
from outlast_workflows.people.notifications import Notifications
from outlast_workflows.run_display import RunDisplay
from outlast_workflows.run_start import shared
from outlast_workflows.state import InboundState, RunState
from outlast_workflows.time_limits import DEADLINE_SUMMARY, time_limit

PAUSE_TIMEOUT = timedelta(days=30)
"""How long a paused run waits for `resume` before it stops."""

BUILD_OF_TASK = workflow.ContinueAsNewVersioningBehavior.UNSPECIFIED
"""A task keeps the build on which it started."""

BUILD_OF_CONVERSATION = workflow.ContinueAsNewVersioningBehavior.AUTO_UPGRADE
"""A conversation may live for weeks, so it moves to the current build."""


class AgentRun:
    """One run of an agent, from its opening to its end."""

    def __init__(self, state: RunState, inbound: InboundState, replies: Replies) -> None:
        self.state = state
        self.display = RunDisplay(state, inbound)
        self._inbound = inbound
        self._replies = replies
        self._unread_messages = 0
        self._legs = Legs(state.cold, state.legs)
        self._handoffs = Handoffs(state)
        self._compose()

    def _compose(self) -> None:
        """Make the parts that depend on the agent of the run, anew after a handoff."""
        state, inbound, legs = self.state, self._inbound, self._legs
        priority = tenant_priority(state.tenant)
        keys = CallKeys(state.key_base, state.inherited_key_base)
        notifications = Notifications(state.agent.channels)
        requests = HumanRequests(inbound, self.display, notifications, state.agent.keys)
        activities = ToolActivities(
            state.agent.route,
            legs,
            self.display,
            priority,
            requests,
            spending=state.spending,
            keys=keys,
            tenant=state.tenant,
            not_local=state.not_local,
            hooks=state.agent.hooks,
        )
        self._compensation = Compensation(state.undo, activities, requests, self.display)
        self._output_check = OutputCheck(state.agent, state.tenant)
        self._model_calls = ModelCalls(state, legs, priority)
        self._tool_calls = ToolCalls(
            {tool.name: tool for tool in state.agent.tools},
            state.spending,
            state.transcript,
            requests=requests,
            activities=activities,
            compensation=self._compensation,
            children=ChildAgents(
                self._share_of_limits,
                state.spending,
                keys=keys,
                tenant=state.tenant,
                priority=priority,
            ),
            handoffs=self._handoffs,
        )

    async def take_turns(self) -> AgentResult:
        """Take turn after turn, and return the result of the run.

        Raises `TimeoutError` when the deadline passes, and a `Failure` for what ends the run as failed.
        """
        async with time_limit(self._deadline_in_s(), DEADLINE_SUMMARY):
            while True:  # bounded by plan_turn: each pass takes a turn, and turns have a limit
                if not await self._wait_while_paused():
                    return self.stopped("deadline")
                self._accept_messages()
                if not self.state.transcript.messages:
                    # A conversation that starts with its first message.
                    if not await self._wait_for_message():
                        return self.stopped(
                            "cancelled" if self._inbound.is_finishing else "deadline"
                        )
                    continue
                plan = self._plan()
                if isinstance(plan, StopRun):
                    return self.stopped(plan.reason)
                await self._continue_as_new_if_due()
                result = await self._take_turn(plan)
                if result is not None:
                    return result

    async def _take_turn(self, plan: TakeTurn) -> AgentResult | None:
        """Get a decision of the model and carry it out; return a result if the run ends with it."""
        # `ModelCalls.generate` says what the handler of `say` may do meanwhile.
        generation = await self._generate(plan)
        if generation is None:
            return None
        decision = generation.decision
        if decision is not None and not await self._accept(decision, generation):
            return None
        if decision is None:
            return self.stopped(generation.out_of or "tokens")
        if decision.tool_calls:
            self.display.show("acting", " · ".join(map(call_summary, decision.tool_calls)))
            # Handlers run meanwhile. They change the inbound state, not the transcript.
            await self._tool_calls.run(decision.tool_calls)
            self._hand_over_if_requested()
            return None
        # The run has answered, so its effects stay, whatever happens later.
        self._compensation.clear()
        return None if await self._continues() else self._complete(decision.answer)

    def _hand_over_if_requested(self) -> None:
        """Go on with the agent that takes over, if there is one. Nothing is in flight between two turns."""
        target = self._handoffs.take()
        if target is None:
            return
        self.state.agent, self.state.agent_digest = shared(target)
        self.state.is_spec = False
        self.state.handoffs.append(target.name)
        self._compose()
        self.display.show("thinking", f"{target.name} takes over")

    async def _generate(self, plan: TakeTurn) -> Generation | None:
        """Return what the model generates in this turn, or None if a person interrupted it."""
        spending = self.state.spending
        spending.turns += 1
        self.display.show("thinking", f"turn {spending.turns}")
        return await self._model_calls.generate(plan)

    async def _accept(self, decision: Decision, generation: Generation) -> bool:
        """Add a decision to the transcript; return whether it counts: its type may reject an answer."""
        problem = None
        if not decision.tool_calls:
            # Nobody reads the answer before it is validated.
            problem = await self._output_check.problem(decision.answer, self.state.spending.turns)
        transcript, usage = self.state.transcript, self.state.spending.last_usage
        entry = decision_message(
            decision,
            generation.opaque,
            usage=usage if usage.tokens else None,
            trimmed=generation.trimmed or None,
        )
        transcript.add(entry)
        transcript.sent = len(transcript.messages)
        if problem is not None:
            transcript.add(user_message(problem))
        return problem is None

    def interrupt(self) -> bool:
        """Cancel the model call in flight; return whether there was one."""
        return self._model_calls.interrupt()

    @property
    def has_turn_left(self) -> bool:
        """Whether a message can still be read: the limits allow another turn."""
        return not isinstance(self._plan(), StopRun)

    def current_answer(self) -> Answer | None:
        """Return the answer to all messages, or None if the agent has not answered them yet."""
        return current_answer(self.state.transcript.messages, self._inbound.inbox)

    async def compensate(self) -> list[CompensationOutcome]:
        """Undo the effects of a run that did not complete."""
        return await self._compensation.run()

    def stopped(self, reason: StopReason) -> AgentResult:
        """Show that the run has stopped, and return its result."""
        return self._result("stopped", reason=reason)

    def show_failure(self, message: str) -> None:
        """Show that the run has failed."""
        self.display.show("failed", message)

    def _complete(self, output: JsonValue) -> AgentResult:
        return self._result("completed", output=output)

    def _result(
        self,
        status: Literal["completed", "stopped"],
        *,
        output: JsonValue = None,
        reason: StopReason | None = None,
    ) -> AgentResult:
        self.display.show(status, reason or "answered")
        # Nobody reads these messages any more. They are in the transcript, and the result counts them.
        self._unread_messages += len(self._inbound.inbox)
        self._accept_messages()
        spending = self.state.spending
        return AgentResult(
            status=status,
            output=output,
            stop_reason=reason,
            turns=spending.turns,
            tool_calls=spending.tool_calls,
            usage=spending.usage,
            decisions=list(self._inbound.settled.values())[-MAX_DECISIONS:],
            legs=list(self.state.legs.values()),
            handoffs=self.state.handoffs,
            unread_messages=self._unread_messages,
        )

    def _plan(self) -> TakeTurn | StopRun:
        return plan_turn(self.state.agent.tools, self.state.limits, self.state.spending)

    def _share_of_limits(self, agents: int) -> RunLimits:
        state = self.state
        return share_of(
            state.limits,
            state.spending,
            agents=agents,
            deadline=state.deadline,
            now=workflow.now(),
        )

    async def _continues(self) -> bool:
        """Return whether there is another message after an answer, and a turn left for it."""
        if isinstance(self._plan(), StopRun):
            return False
        if self.state.mode == "conversation":
            return await self._wait_for_message()
        return bool(self._inbound.inbox)

    async def _wait_for_message(self) -> bool:
        return await wait_for_message(self._inbound, self.display, self.state.limits.idle_s)

    async def _wait_while_paused(self) -> bool:
        """Wait until the run is not paused; return whether it was resumed in time."""
        paused = self._inbound.paused
        if paused is None:
            return True
        self.display.show("paused", pause_text(paused.by, paused.reason))
        try:
            # The handlers of `pause` and `resume` run meanwhile, and set the value that is waited for.
            await workflow.wait_condition(
                lambda: self._inbound.paused is None,
                timeout=PAUSE_TIMEOUT,
                timeout_summary="paused; the run stops if nobody resumes it",
            )
        except TimeoutError:
            return False
        return True

    def _accept_messages(self) -> None:
        """Move the messages of the inbox to the transcript, in one step without an await."""
        for message in self._inbound.inbox:
            self.state.transcript.add(user_message(message.text))
            self.state.note_user(message.text)
        self._inbound.inbox.clear()

    async def _continue_as_new_if_due(self) -> None:
        """Continue as a new run if the server suggests it, or if a conversation has a newer build.

        The protocol: callers that wait for an answer are released, and try again on the new run. Handlers
        may still run and change the inbound state until all of them have returned; then it is carried,
        without another await. What arrives later goes to the new run (see `run_start.restored`).
        """
        info, is_task = workflow.info(), self.state.mode == "task"
        is_outdated = not is_task and info.is_target_worker_deployment_version_changed()
        if not (is_outdated or info.is_continue_as_new_suggested()):
            return
        if info.cron_schedule:
            raise RunTooLarge(
                "the history is full, and a run on a cron schedule cannot continue as new: start it from a"
                " Temporal schedule, or give it fewer turns"
            )
        await self._replies.end(ContinuedAsNew.__name__)
        workflow.continue_as_new(
            self.state.carried_with(self._inbound),
            initial_versioning_behavior=BUILD_OF_TASK if is_task else BUILD_OF_CONVERSATION,
        )

    def _deadline_in_s(self) -> float | None:
        """Return the seconds until the deadline, 0 if it has passed, None without one."""
        if self.state.deadline is None:
            return None
        return max(0.0, (self.state.deadline - workflow.now()).total_seconds())

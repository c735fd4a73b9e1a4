"""Tool calls: the calls of one decision run at the same time, each after its approval."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace

from pydantic import JsonValue
from temporalio.exceptions import ActivityError, is_cancelled_exception

from outlast.contracts.agents import ToolSpec
from outlast.contracts.human import Approval
from outlast.contracts.messages import Message, ToolCall
from outlast.text.json_text import to_json
from outlast.transcripts import tool_message
from outlast_workflows.budget import Spending
from outlast_workflows.calls.agent_patterns import AgentPatterns, agent_runs
from outlast_workflows.calls.call_batch import CallBatch, PlannedCall
from outlast_workflows.calls.child_agents import ChildAgents
from outlast_workflows.calls.compensation import MAX_UNDO, Compensation
from outlast_workflows.calls.effect_calls import EffectCalls
from outlast_workflows.calls.handoffs import Handoffs
from outlast_workflows.calls.tool_activities import ToolActivities, UnreadableResult
from outlast_workflows.calls.unknown_outcomes import UnknownOutcomes
from outlast_workflows.people.human_requests import HumanRequests
from outlast_workflows.people.outcomes import decision_text, denial, question_result
from outlast_workflows.state import Transcript
from outlast_workflows.step_failures import error_result


class CallDenied(Exception):
    """Raised when people deny a call whose `on_denial` stops the run."""


class ToolCalls:
    """Carries out the tool calls of one run's decisions."""

    def __init__(
        self,
        tools: Mapping[str, ToolSpec],
        spending: Spending,
        transcript: Transcript,
        *,
        requests: HumanRequests,
        activities: ToolActivities,
        compensation: Compensation,
        children: ChildAgents,
        handoffs: Handoffs,
    ) -> None:
        self._tools = tools
        self._spending = spending
        self._transcript = transcript
        self._requests = requests
        self._activities = activities
        self._compensation = compensation
        outcomes = UnknownOutcomes(activities, compensation, requests)
        self._effects = EffectCalls(activities, compensation, outcomes)
        self._children = children
        self._patterns = AgentPatterns(children)
        self._handoffs = handoffs

    async def run(self, calls: tuple[ToolCall, ...]) -> None:
        """Run the calls of one decision, and add their results to the transcript in their order.

        Raises the first error that ends the run, after all calls have ended: also `CallDenied`.
        """
        turn = self._spending.turns
        tools = [self._tools.get(call.tool) for call in calls]
        batch = CallBatch(
            agent_calls=sum(
                agent_runs(tool, call.arguments)
                for call, tool in zip(calls, tools, strict=True)
                if tool is not None
            ),
            is_local=all(tool is None or self._activities.is_local(tool) for tool in tools),
        )
        # The calls interleave with each other and with all handlers at each of their awaits. Each call
        # changes the state of its own id only, or counts and records in one step without an await.
        results = await asyncio.gather(
            *(
                _unknown_tool(f"{turn}.{number}", call)
                if tool is None
                else self.run_one(PlannedCall(f"{turn}.{number}", tool, call, batch))
                for number, (call, tool) in enumerate(zip(calls, tools, strict=True), start=1)
            ),
            return_exceptions=True,
        )
        for result in results:
            if isinstance(result, BaseException):
                raise result
            self._transcript.add(result)

    async def run_one(self, call: PlannedCall) -> Message:
        """Run one call after its approval, and return its result; the caller adds it to a transcript."""
        try:
            content, decided = await self._result(call)
        except asyncio.CancelledError:
            if self._requests.is_approved(call.id) and call.id not in call.batch.started:
                self._compensation.note(
                    call, "not_made", "approved, but the run ended before the call"
                )
            raise
        except Exception:
            call.batch.is_broken = True
            raise
        message = tool_message(call.tool.name, call.id, content)
        return message.model_copy(update={"decided": decided}) if decided else message

    async def _result(self, call: PlannedCall) -> tuple[str, str]:
        """Return the JSON text that the model reads as the result, and what people decided in words."""
        tool = call.tool
        if tool.max_calls is not None and self._spending.calls.get(tool.name, 0) >= tool.max_calls:
            return _error(f"{tool.name} may be called {tool.max_calls} times in a run"), ""
        self._spending.add_tool_call(tool.name)
        if tool.kind == "question":
            settled, answer = await self._requests.ask(call)
            return question_result(settled, answer), decision_text(settled)
        approval = tool.approval
        if approval is None or not _is_needed(approval, call):
            return await self._carry_out(call), ""
        settled, arguments = await self._requests.approve(call, approval)
        call = replace(call, proof=self._requests.take_proof(call.id))
        reason = denial(settled, approval)
        if reason is not None:
            if settled is not None and approval.on_denial == "stop":
                raise CallDenied(reason)
            return to_json({"denied": reason}), decision_text(settled)
        made = call if arguments is None else call.with_arguments(arguments)
        content = await self._carry_out(made)
        self._requests.note_call_error(call.id, content)
        shown = content if arguments is None else _with_edit(arguments, content)
        return shown, decision_text(settled)

    async def _carry_out(self, call: PlannedCall) -> str:
        if self._compensation.is_full and call.tool.compensate is not None:
            return _error(f"a run may have {MAX_UNDO} effects that can be undone")
        if call.tool.kind == "activity" and call.tool.must_end:
            return await self._effects.run(call)
        call.batch.started.add(call.id)
        if call.tool.handoff_target is not None:
            return self._handoffs.request(call)
        if call.tool.pattern is not None:
            return await self._patterns.run(call, call.tool.pattern)
        if call.tool.kind == "agent":
            return await self._children.run(call)
        return await self._run_activity(call)

    async def _run_activity(self, call: PlannedCall) -> str:
        """Return the result of a call that changes nothing, as JSON text."""
        try:
            return await self._activities.execute(call)
        except UnreadableResult as error:
            return error.text_for_model()
        except ActivityError as error:
            if is_cancelled_exception(error):
                raise asyncio.CancelledError from error
            return error_result(error, call.tool, call.id)


def _is_needed(approval: Approval, call: PlannedCall) -> bool:
    return approval.when is None or approval.when.holds(call.arguments)


async def _unknown_tool(call_id: str, call: ToolCall) -> Message:
    return tool_message(call.tool, call_id, _error(f"there is no tool {call.tool!r}"))


def _error(message: str) -> str:
    return to_json({"error": message})


def _with_edit(arguments: dict[str, JsonValue], content: str) -> str:
    """Return the result of a call whose arguments a person edited."""
    return f'{{"arguments_edited_to":{to_json(arguments)},"result":{content}}}'

"""Tool calls: approved where they must be, run side by side, their outcomes told apart."""

import asyncio

from temporalio import workflow
from temporalio.common import Priority
from temporalio.exceptions import ChildWorkflowError, is_cancelled_exception
from temporalio.workflow import ParentClosePolicy

from outlast.contracts.agents import ToolSpec
from outlast.contracts.messages import Message, ToolCall
from outlast.contracts.names import AGENT_WORKFLOW
from outlast.contracts.results import AgentResult
from outlast.errors import ToolFailed
from outlast.json_text import to_json
from outlast.transcripts import tool_message
from outlast_workflows.display_text import call_summary
from outlast_workflows.effects import Effects
from outlast_workflows.people.outcomes import refusal_by, reply_of, trail_of
from outlast_workflows.people.requests import Requests
from outlast_workflows.state import RunState
from outlast_workflows.step_failures import cause_of


class Calls:
    """Carries out the tool calls of a run's decisions."""

    def __init__(
        self, state: RunState, requests: Requests, effects: Effects, priority: Priority
    ) -> None:
        self._state = state
        self._requests = requests
        self._effects = effects
        self._priority = priority
        self._broken = False
        self._agents = 0

    async def run(self, calls: tuple[ToolCall, ...]) -> None:
        """Run the calls of one decision and add their results to the transcript, in their order.

        Raises `ToolFailed` after all have ended if one of them broke in a way that no model can mend.
        """
        turn = self._state.turn
        started = [
            self._guarded(f"{turn}.{number}", call) for number, call in enumerate(calls, start=1)
        ]
        self._agents = sum(map(self._is_agent, calls))
        for outcome in await asyncio.gather(*started, return_exceptions=True):
            if isinstance(outcome, BaseException):
                raise outcome
            self._state.add(outcome)

    def _is_agent(self, call: ToolCall) -> bool:
        tool = self._state.agent.tool(call.tool)
        return tool is not None and tool.kind == "agent"

    async def _guarded(self, call_id: str, call: ToolCall) -> Message:
        try:
            content, said = await self._outcome(call_id, call)
        except Exception:
            self._broken = True
            raise
        message = tool_message(call.tool, call_id, content)
        return message.model_copy(update={"decided": said}) if said else message

    async def _outcome(self, call_id: str, call: ToolCall) -> tuple[str, str]:
        """Return the JSON text that the model reads as the call's result, and what people decided."""
        tool = self._state.agent.tool(call.tool)
        if tool is None:
            return to_json({"error": f"there is no tool {call.tool!r}"}), ""
        used = self._state.calls.get(tool.name, 0)
        if tool.max_calls is not None and used >= tool.max_calls:
            error = f"{tool.name} may be called {tool.max_calls} times in a run"
            return to_json({"error": error}), ""
        self._state.calls[tool.name] = used + 1
        self._state.tool_calls += 1
        if tool.kind == "question":
            return await self._ask(call_id, call, tool)
        clock, said = tool.approval, ""
        if clock is not None and (clock.when is None or clock.when.holds(call.arguments)):
            settled, edited = await self._requests.approval(
                call_id, call, clock, is_moot=lambda: self._broken
            )
            self._requests.show_acting(self._state.turn)
            refusal = refusal_by(settled, clock)
            said = trail_of(settled)
            if refusal is not None:
                return to_json({"denied": refusal}), said
            if edited is not call:
                return _as_edited(edited, await self._carried_out(call_id, edited, tool)), said
        return await self._carried_out(call_id, call, tool), said

    async def _ask(self, call_id: str, call: ToolCall, tool: ToolSpec) -> tuple[str, str]:
        settled, answer = await self._requests.answer(
            call_id, call, tool, is_moot=lambda: self._broken
        )
        self._requests.show_acting(self._state.turn)
        return reply_of(settled, answer), trail_of(settled)

    async def _carried_out(self, call_id: str, call: ToolCall, tool: ToolSpec) -> str:
        if tool.kind == "agent":
            return await self._run_agent(call_id, call)
        return await self._effects.run(call_id, call, tool, is_moot=lambda: self._broken)

    async def _run_agent(self, call_id: str, call: ToolCall) -> str:
        state = self._state
        try:
            result: AgentResult = await workflow.execute_child_workflow(
                AGENT_WORKFLOW,
                {
                    "agent": call.tool,
                    "input": call.arguments.get("input"),
                    "tenant": state.tenant,
                    "limits": state.share(self._agents, workflow.now()).model_dump(mode="json"),
                },
                id=f"{workflow.info().workflow_id}/{call_id}-{call.tool}",
                result_type=AgentResult,
                parent_close_policy=ParentClosePolicy.REQUEST_CANCEL,
                static_summary=call_summary(call),
                priority=self._priority,
            )
        except ChildWorkflowError as error:
            if is_cancelled_exception(error):
                raise asyncio.CancelledError from error
            raise ToolFailed(f"agent {call.tool} (call {call_id}): {cause_of(error)}") from None
        state.usage += result.usage
        if result.status == "completed":
            return to_json(result.output)
        return to_json({"error": f"{call.tool} stopped: {result.stop_reason}"})


def _as_edited(call: ToolCall, content: str) -> str:
    """Return what a model reads of a call that was made with other arguments than it wished."""
    return f'{{"arguments_edited_to":{to_json(call.arguments)},"result":{content}}}'

"""Calls of a pipeline: agents as children, tools as activities, and questions for people."""

import asyncio
import json
from collections.abc import Mapping

from pydantic import JsonValue, ValidationError
from temporalio import workflow
from temporalio.common import Priority
from temporalio.exceptions import FailureError, is_cancelled_exception

from outlast.contracts.agents import ToolSpec
from outlast.contracts.messages import ToolCall as ToolCallMessage
from outlast.contracts.results import AgentResult
from outlast.errors import BadRequest, Failure
from outlast.pipelines.calls import approval_of
from outlast.pipelines.errors import CONFIGURATION, DENIED, STOPPED, TIMEOUT, VALIDATION
from outlast.pipelines.fields import quoted
from outlast.pipelines.tasks import AgentCall, AskCall, ToolCall
from outlast.start_requests import parse_request
from outlast.text.json_text import to_json
from outlast.text.safe_text import summary_line, visible_line
from outlast_workflows.budget import usage_problem
from outlast_workflows.calls.call_batch import CallBatch, PlannedCall
from outlast_workflows.calls.call_keys import CallKeys
from outlast_workflows.calls.child_agents import child_id, run_agent
from outlast_workflows.calls.tool_calls import ToolCalls
from outlast_workflows.display_text import MAX_SUMMARY_BYTES
from outlast_workflows.payloads import result_of
from outlast_workflows.people.human_requests import HumanRequests
from outlast_workflows.pipelines.evaluation import Evaluator, TaskData
from outlast_workflows.pipelines.gate import Gate
from outlast_workflows.pipelines.state import PipelineState
from outlast_workflows.pipelines.strands import next_place
from outlast_workflows.pipelines.task_errors import TaskError
from outlast_workflows.step_failures import cause_of, usage_of

CHECK_ARGUMENTS_PATCH = "check-arguments-before-approval"


class Calls:
    """Makes the calls of one pipeline. Each has an id, which begins its idempotency key."""

    def __init__(
        self,
        state: PipelineState,
        gate: Gate,
        evaluator: Evaluator,
        *,
        tools: Mapping[str, ToolSpec],
        tool_calls: ToolCalls,
        requests: HumanRequests,
        keys: CallKeys,
        priority: Priority,
    ) -> None:
        self._state = state
        self._gate = gate
        self._evaluator = evaluator
        self._tools = tools
        self._tool_calls = tool_calls
        self._requests = requests
        self._keys = keys
        self._priority = priority

    async def agent(self, data: TaskData, body: AgentCall) -> JsonValue:
        """Return the answer of an agent, which runs as a child."""
        request = self._evaluator.value(data, body.request)
        fields = dict(request) if isinstance(request, dict) else {}
        encoded = to_json({**fields, "tenant": self._state.run.tenant}).encode(errors="replace")
        try:
            parse_request(encoded)
        except BadRequest as error:
            raise TaskError(
                f"the request of agent {body.name} is not valid",
                type=VALIDATION,
                status=400,
                detail=str(error.message),
            ) from None
        call_id, place = next_place(self._state)
        suffix = f"/{call_id}-{body.name}-{workflow.uuid4().hex[:12]}"
        self._state.agent_runs += 1
        await self._gate.start(len(encoded))
        try:
            # Other tasks and all handlers run meanwhile. The usage is added after the await, in one step.
            returned = await run_agent(
                json.loads(encoded),
                workflow_id=child_id(workflow.info().workflow_id, suffix),
                key_base=self._keys.of_child(place, body.name),
                summary=_summary(data),
                priority=self._priority,
            )
            result = result_of(AgentResult, returned)
        except (FailureError, ValueError) as error:
            if is_cancelled_exception(error):
                raise asyncio.CancelledError from error
            used = usage_of(error)
            if usage_problem(used) is None:
                self._state.run.spending.usage += used
            raise TaskError(f"agent {body.name} failed", detail=cause_of(error)) from None
        problem = usage_problem(result.usage)
        if problem is not None:
            raise TaskError(f"agent {body.name} returned an invalid usage", detail=problem)
        self._state.run.spending.usage += result.usage
        # A cancelled agent completes with a partial result, but its cancelled task must stop.
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise asyncio.CancelledError
        if result.status != "completed":
            raise TaskError(
                f"agent {body.name} stopped before it answered",
                type=STOPPED,
                detail=f"stop_reason: {result.stop_reason}",
            )
        return result.output_json

    async def tool(self, data: TaskData, body: ToolCall) -> JsonValue:
        """Return the result of a tool. Its effect sets its retries, approval and compensation."""
        tool = self._tools.get(body.tool)
        if tool is None:
            raise TaskError(f"there is no tool {body.tool!r}", type=CONFIGURATION, status=404)
        arguments = self._evaluator.value(data, body.arguments)
        if not isinstance(arguments, dict):
            raise TaskError(
                f"the arguments {quoted(arguments)} are not an object", type=VALIDATION, status=400
            )
        self._check_before_approval(tool, arguments)
        call = ToolCallMessage(tool=body.tool, arguments=arguments)
        await self._gate.start(len(to_json(arguments)))
        # Failures are retried three times in a row for each turn: here, each call is a turn.
        self._state.run.spending.turns = self._state.call_count + 1
        call_id, place = next_place(self._state)
        planned = PlannedCall(call_id, tool, call, CallBatch(), place=place)
        try:
            message = await self._tool_calls.run_one(planned)
        except Failure as error:
            raise TaskError(f"tool {body.tool} failed", detail=str(error.message)) from None
        return _result_of(body.tool, message.content or "null")

    def _check_before_approval(self, tool: ToolSpec, arguments: dict[str, JsonValue]) -> None:
        """Raise `TaskError` for wrong arguments of a call that people approve: it could not be made."""
        if tool.approval is None:
            return
        try:
            self._evaluator.check(arguments, tool.parameters, f"call of {tool.name}")
        except TaskError:
            # A run of an older build takes the patch here, and a new one when it opens.
            if workflow.patched(CHECK_ARGUMENTS_PATCH):
                raise

    async def ask(self, data: TaskData, body: AskCall) -> JsonValue:
        """Return the answer of a person."""
        question = self._evaluator.value(data, body.question)
        text = question if isinstance(question, str) else to_json(question)
        return await self.answer_of(text, body)

    async def answer_of(self, text: str, body: AskCall) -> JsonValue:
        """Return the answer of a person to a text. Raises `TaskError` if there is none."""
        try:
            tool = ToolSpec(
                name="ask",
                parameters={},
                kind="question",
                approval=approval_of(body),
                answer_schema=body.answer_schema,
            )
        except ValidationError as error:
            raise TaskError(
                "the question is not valid", type=VALIDATION, detail=str(error)
            ) from None
        call = ToolCallMessage(tool="ask", arguments={"question": text})
        call_id, _ = next_place(self._state)
        planned = PlannedCall(call_id, tool, call, CallBatch())
        settled, answer = await self._requests.ask(planned)
        if settled is not None and settled.outcome == "answered":
            return answer
        if settled is not None and settled.outcome == "denied":
            raise TaskError(
                f"{settled.by or settled.audience} declined to answer",
                type=DENIED,
                status=403,
                detail=settled.comment,
            )
        raise TaskError(f"nobody of {body.audience} answered in time", type=TIMEOUT, status=408)


def _summary(data: TaskData) -> str:
    """Return the name of a task for the UI, which shows it beside its call."""
    return summary_line(visible_line(f"{data.task.name} · {data.task.place}"), MAX_SUMMARY_BYTES)


_FAILURES = {"error": "failed", "retry": "rejected the call", "denied": "was denied"}
"""What an outcome of a call means, by the one field of its result."""


def _result_of(tool: str, content: str) -> JsonValue:
    """Return the result of a call. Raises `TaskError` if it says that the call failed or was denied."""
    result: JsonValue = json.loads(content)
    if isinstance(result, dict) and len(result) == 1:
        name, reason = next(iter(result.items()))
        if name in _FAILURES and isinstance(reason, str):
            is_denied = name == "denied"
            raise TaskError(
                f"tool {tool} {_FAILURES[name]}",
                **({"type": DENIED, "status": 403} if is_denied else {}),  # type: ignore[arg-type]
                detail=reason,
            )
    return result

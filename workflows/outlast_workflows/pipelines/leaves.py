"""Tasks without tasks in them: calls, timers, events and errors."""

from datetime import timedelta

from pydantic import JsonValue
from temporalio import workflow

from outlast.pipelines.errors import RUNTIME, current_type
from outlast.pipelines.tasks import (
    A2aCall,
    AgentCall,
    AskCall,
    Body,
    EmitBody,
    HttpCall,
    ListenBody,
    OpenApiCall,
    RaiseBody,
    ToolCall,
    WaitBody,
)
from outlast.text.json_text import to_json
from outlast_workflows.pipelines.a2a_calls import A2aCalls
from outlast_workflows.pipelines.calls import Calls
from outlast_workflows.pipelines.evaluation import Evaluator, TaskData
from outlast_workflows.pipelines.events import Events
from outlast_workflows.pipelines.gate import Gate
from outlast_workflows.pipelines.http_calls import HttpCalls
from outlast_workflows.pipelines.state import PipelineState
from outlast_workflows.pipelines.task_errors import TaskError
from outlast_workflows.time_limits import SHORTEST_TIMER_S


class Leaves:
    """Runs the tasks of one pipeline that contain no others."""

    def __init__(
        self,
        state: PipelineState,
        gate: Gate,
        evaluator: Evaluator,
        *,
        calls: Calls,
        http_calls: HttpCalls,
        a2a_calls: A2aCalls,
        events: Events,
    ) -> None:
        self._state = state
        self._gate = gate
        self._evaluator = evaluator
        self._calls = calls
        self._http_calls = http_calls
        self._a2a_calls = a2a_calls
        self._events = events

    async def run(self, data: TaskData, address: str) -> JsonValue:
        """Return the raw output of a task."""
        body = data.task.body
        match body:
            case RaiseBody():
                raise self._error(data, body)
            case EmitBody():
                return self._events.emitted(data, body)
            case ListenBody():
                return await self._events.listen(data, body)
            case WaitBody():
                duration = self._evaluator.duration(data, body.duration)
                await self.wait(duration, f"{data.task.name} waits", address)
                return data.input
            case A2aCall():
                return await self._a2a_calls.call(data, body, address)
            case _:
                with self._gate.under_way(waits=isinstance(body, AskCall)):
                    return await self._call(data, body)

    async def _call(self, data: TaskData, body: Body) -> JsonValue:
        match body:
            case AgentCall():
                return await self._calls.agent(data, body)
            case ToolCall():
                return await self._calls.tool(data, body)
            case AskCall():
                return await self._calls.ask(data, body)
            case HttpCall():
                return await self._http_calls.http(data, body)
            case OpenApiCall():
                return await self._http_calls.openapi(data, body)
            case _:
                raise TaskError(f"{type(body).__name__} is not supported")

    async def wait(self, duration: timedelta, summary: str, address: str) -> None:
        """Wait for a timer. The next run of a chain waits for what is left of it."""
        due = self._state.timers.setdefault(address, workflow.now() + duration)
        left = (due - workflow.now()).total_seconds()
        # Everything else runs meanwhile. If the run continues as new, the timer stays in `timers`.
        try:
            await workflow.sleep(max(left, SHORTEST_TIMER_S), summary=summary)
        finally:
            self._state.timers.pop(address, None)

    def _error(self, data: TaskData, body: RaiseBody) -> TaskError:
        value = self._evaluator.value(data, body.error)
        error = value if isinstance(value, dict) else {}
        status = error.get("status")

        def text(name: str, default: str = "") -> str:
            found = error.get(name, default)
            return found if isinstance(found, str) else to_json(found)

        return TaskError(
            text("title", "an error was raised"),
            type=current_type(text("type", RUNTIME)),
            status=status if isinstance(status, int) else 500,
            detail=text("detail"),
            instance=text("instance"),
        )

"""An open pipeline: its parts, and its run until it ends or continues as new."""

import asyncio

from pydantic import JsonValue
from temporalio import workflow

from outlast.contracts.limits import RunLimits
from outlast.contracts.pipeline_results import PipelineResult
from outlast.contracts.results import CompensationOutcome, StopReason
from outlast.errors import RunTooLarge
from outlast.pipelines.errors import TIMEOUT
from outlast.pipelines.tasks import Pipeline, Task
from outlast.start_requests import tenant_priority
from outlast_workflows.calls.call_keys import CallKeys
from outlast_workflows.calls.child_agents import ChildAgents
from outlast_workflows.calls.compensation import Compensation
from outlast_workflows.calls.handoffs import Handoffs
from outlast_workflows.calls.tool_activities import ToolActivities
from outlast_workflows.calls.tool_calls import ToolCalls
from outlast_workflows.legs import Legs
from outlast_workflows.outcome import MAX_OUTCOME_BYTES
from outlast_workflows.people.human_requests import MAX_DECISIONS, HumanRequests
from outlast_workflows.people.notifications import Notifications
from outlast_workflows.pipelines.a2a_calls import A2aCalls
from outlast_workflows.pipelines.calls import Calls
from outlast_workflows.pipelines.display import PipelineDisplay
from outlast_workflows.pipelines.evaluation import Evaluator
from outlast_workflows.pipelines.events import Events
from outlast_workflows.pipelines.gate import Gate
from outlast_workflows.pipelines.http_calls import HttpCalls
from outlast_workflows.pipelines.interpreter import Interpreter
from outlast_workflows.pipelines.leaves import Leaves
from outlast_workflows.pipelines.state import PipelineState
from outlast_workflows.pipelines.task_errors import TaskError
from outlast_workflows.state import InboundState
from outlast_workflows.time_limits import time_limit


class PipelineRun:
    """One run of a pipeline, from its opening to its end."""

    def __init__(self, pipeline: Pipeline, state: PipelineState, inbound: InboundState) -> None:
        self.state = state
        self._pipeline = pipeline
        self._inbound = inbound
        self._gate = Gate()
        run, running = state.run, dict[str, Task]()
        self.display = PipelineDisplay(state, inbound, running, workflow.info().workflow_id)
        priority, legs = tenant_priority(run.tenant), Legs(run.cold, run.legs)
        keys = CallKeys(run.key_base)
        notifications = Notifications(run.agent.channels)
        requests = HumanRequests(inbound, self.display, notifications, run.agent.keys)
        activities = ToolActivities(
            run.agent.route,
            legs,
            self.display,
            priority,
            requests,
            spending=run.spending,
            keys=keys,
            tenant=run.tenant,
            not_local=run.not_local,
            hooks=run.agent.hooks,
        )
        self._compensation = Compensation(run.undo, activities, requests, self.display)
        tools = {tool.name: tool for tool in run.agent.tools}
        tool_calls = ToolCalls(
            tools,
            run.spending,
            run.transcript,
            requests=requests,
            activities=activities,
            compensation=self._compensation,
            children=ChildAgents(
                lambda _: RunLimits(), run.spending, keys=keys, tenant=run.tenant, priority=priority
            ),
            handoffs=Handoffs(run),
        )
        evaluator = Evaluator(state, self._gate)
        calls = Calls(
            state,
            self._gate,
            evaluator,
            tools=tools,
            tool_calls=tool_calls,
            requests=requests,
            keys=keys,
            priority=priority,
        )
        http_calls = HttpCalls(state, self._gate, evaluator, tools=tools, activities=activities)
        leaves = Leaves(
            state,
            self._gate,
            evaluator,
            calls=calls,
            http_calls=http_calls,
            a2a_calls=A2aCalls(state, self._gate, evaluator, http=http_calls, calls=calls),
            events=Events(state.events, evaluator),
        )
        self._interpreter = Interpreter(pipeline, state, self._gate, leaves, evaluator, running)

    async def run(self) -> PipelineResult:
        """Return the result of the pipeline; continues as new when the history is long.

        Raises `TaskError` for an error that no `try` catches.
        """
        self.display.show("acting", "runs")
        work = asyncio.ensure_future(self._within_timeout())
        try:
            # The tasks of the pipeline run meanwhile, and close the gate when it is time.
            await workflow.wait_condition(lambda: work.done() or self._gate.is_drained)
        except asyncio.CancelledError:
            work.cancel()
            await workflow.wait([work])
            if not work.cancelled():
                work.exception()  # mark it as seen
            raise
        if not work.done():
            await self._continue_as_new()
        output = work.result()
        # The pipeline has completed, so its effects stay, whatever happens later.
        self._compensation.clear()
        return self._result(PipelineResult(status="completed", output=output))

    async def _within_timeout(self) -> JsonValue:
        timeout = self._pipeline.timeout
        if timeout is None:
            return await self._interpreter.run()
        left = timeout.seconds - (workflow.now() - self.state.run.started_at).total_seconds()
        try:
            async with time_limit(max(0.001, left), "timeout of the pipeline"):
                return await self._interpreter.run()
        except TimeoutError:
            raise TaskError(
                f"the pipeline took longer than {timeout.seconds:g} s",
                type=TIMEOUT,
                status=408,
                instance="/",
            ) from None

    async def _continue_as_new(self) -> None:
        """Continue as a new run. Every task waits at the gate, so the state is that of its cursors."""
        if workflow.info().cron_schedule:
            raise RunTooLarge(
                "the history is full, and a run on a cron schedule cannot continue as new: start it from a"
                " Temporal schedule"
            )
        # Handlers change the inbound state until all have returned. Then it is carried without an await.
        await workflow.wait_condition(workflow.all_handlers_finished)
        carried = self.state.carried_with(self._inbound)
        workflow.continue_as_new(carried.model_dump(mode="json"))

    async def compensate(self) -> list[CompensationOutcome]:
        """Undo the effects of a pipeline that did not complete."""
        return await self._compensation.run()

    def stopped(self, reason: StopReason) -> PipelineResult:
        """Show that the pipeline has stopped, and return its result."""
        return self._result(PipelineResult(status="stopped", stop_reason=reason))

    def _result(self, result: PipelineResult) -> PipelineResult:
        self.display.show(result.status, result.stop_reason or "completed")
        run = self.state.run
        complete = result.model_copy(
            update={
                "tasks": self.state.task_runs,
                "agent_runs": self.state.agent_runs,
                "tool_calls": run.spending.tool_calls,
                "usage": run.spending.usage,
                "decisions": list(self._inbound.settled.values())[-MAX_DECISIONS:],
                "legs": list(run.legs.values()),
            }
        )
        size = len(complete.model_dump_json().encode())
        if size > MAX_OUTCOME_BYTES:
            raise RunTooLarge(
                f"the result has {size:,} bytes; a pipeline can return {MAX_OUTCOME_BYTES:,}"
            )
        return complete

"""Agents as tools: each call runs an agent as a child workflow, within what is left of the run's budget."""

import asyncio
from collections.abc import Callable

from temporalio import workflow
from temporalio.common import Priority
from temporalio.exceptions import ChildWorkflowError, is_cancelled_exception
from temporalio.workflow import ParentClosePolicy

from outlast.contracts.limits import RunLimits
from outlast.contracts.names import AGENT_WORKFLOW
from outlast.contracts.results import AgentResult
from outlast.errors import ToolFailed
from outlast.json_text import to_json
from outlast_workflows.budget import Spending
from outlast_workflows.call_batch import PlannedCall
from outlast_workflows.display_text import call_summary
from outlast_workflows.step_failures import cause_of


class ChildAgents:
    """Runs the agents that one run calls; `share` returns the limits of each, if so many are called."""

    def __init__(
        self,
        share: Callable[[int], RunLimits],
        spending: Spending,
        *,
        tenant: str,
        priority: Priority,
    ) -> None:
        self._share = share
        self._spending = spending
        self._tenant = tenant
        self._priority = priority

    async def run(self, call: PlannedCall) -> str:
        """Return the answer of an agent as JSON text; raises `ToolFailed` if its run fails."""
        name = call.tool.name
        limits = self._share(call.batch.agent_calls)
        try:
            # Other calls of the batch and all handlers run meanwhile. The usage is added after the await,
            # in one step.
            result: AgentResult = await workflow.execute_child_workflow(
                AGENT_WORKFLOW,
                {
                    "agent": name,
                    "input": call.arguments.get("input"),
                    "tenant": self._tenant,
                    "limits": limits.model_dump(mode="json"),
                },
                id=f"{workflow.info().workflow_id}/{call.id}-{name}",
                result_type=AgentResult,
                parent_close_policy=ParentClosePolicy.REQUEST_CANCEL,
                static_summary=call_summary(call.call),
                priority=self._priority,
            )
        except ChildWorkflowError as error:
            if is_cancelled_exception(error):
                raise asyncio.CancelledError from error
            raise ToolFailed(f"agent {name} (call {call.id}): {cause_of(error)}") from None
        self._spending.usage += result.usage
        if result.status == "completed":
            return to_json(result.output)
        return to_json({"error": f"{name} stopped: {result.stop_reason}"})

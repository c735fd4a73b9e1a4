"""Agents as tools: each call runs an agent as a child workflow, within what is left of the run's budget."""

import asyncio
import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from pydantic import JsonValue
from temporalio import workflow
from temporalio.common import Priority, RawValue
from temporalio.exceptions import FailureError, is_cancelled_exception
from temporalio.workflow import ParentClosePolicy

from outlast.contracts.limits import RunLimits
from outlast.contracts.names import AGENT_WORKFLOW
from outlast.contracts.results import AgentResult
from outlast.errors import ToolFailed
from outlast.temporal.call_headers import CHILD_KEY_BASE
from outlast.text.json_text import to_json
from outlast_workflows.budget import Spending, usage_problem
from outlast_workflows.calls.call_batch import PlannedCall
from outlast_workflows.calls.call_keys import CallKeys
from outlast_workflows.display_text import call_summary
from outlast_workflows.payloads import result_of
from outlast_workflows.step_failures import cause_of, usage_of

CHILD_ID_PATCH = "child-ids-are-random"

MAX_ID_BYTES = 900
"""Size of a child's workflow id. The server allows 1,000, and a child calls agents too."""


@dataclass(frozen=True)
class ChildRun:
    """One run of an agent that a call starts: its request, and what errors and the UI name it."""

    agent: str
    input: JsonValue
    limits: RunLimits
    place: str
    summary: str
    key_base: str
    """Begins the idempotency keys of its calls."""


class ChildAgents:
    """Runs the agents that one run calls; `share` returns the limits of each, if so many are called.

    `keys` are the idempotency keys of the run.
    """

    def __init__(
        self,
        share: Callable[[int], RunLimits],
        spending: Spending,
        *,
        keys: CallKeys,
        tenant: str,
        priority: Priority,
    ) -> None:
        self.keys = keys
        self._share = share
        self._spending = spending
        self._tenant = tenant
        self._priority = priority

    async def run(self, call: PlannedCall) -> str:
        """Return the answer of an agent as JSON text; raises `ToolFailed` if its run fails."""
        name = call.tool.name
        child = ChildRun(
            name,
            call.arguments.get("input"),
            self._share(call.batch.agent_calls),
            f"agent {name} (call {call.id})",
            call_summary(call.call),
            self.keys.of_child(call.id, name),
        )
        result = await self.result_of(child, lambda: self._child_id(call))
        if result.status == "completed":
            return to_json(result.output_json)
        return to_json({"error": f"{name} stopped: {result.stop_reason}"})

    def share(self, call: PlannedCall) -> RunLimits:
        """Return the limits of each agent that a call runs, at this time."""
        return self._share(max(1, call.batch.agent_calls))

    async def result_of(self, child: ChildRun, child_id: Callable[[], str]) -> AgentResult:
        """Return the result of a child, and count its usage; raises `ToolFailed` if the child fails."""
        try:
            # Other calls of the batch and all handlers run meanwhile. The usage is added after the await,
            # in one step.
            returned = await run_agent(
                {
                    "agent": child.agent,
                    "input": child.input,
                    "tenant": self._tenant,
                    "limits": child.limits.model_dump(mode="json"),
                },
                workflow_id=child_id(),
                key_base=child.key_base,
                summary=child.summary,
                priority=self._priority,
            )
            result = result_of(AgentResult, returned)
        except (FailureError, ValueError) as error:
            # Its id may be in use, or its result may be that of another workflow.
            if is_cancelled_exception(error):
                raise asyncio.CancelledError from error
            used = usage_of(error)
            if usage_problem(used) is None:
                self._spending.usage += used
            raise ToolFailed(f"{child.place}: {cause_of(error)}") from None
        problem = usage_problem(result.usage)
        if problem is not None:
            raise ToolFailed(f"{child.place}: returned an invalid usage: {problem}")
        self._spending.usage += result.usage
        return result

    def _child_id(self, call: PlannedCall) -> str:
        """Return the workflow id of a child. Nobody can guess it, and start a run with it first."""
        run_id, suffix = workflow.info().workflow_id, f"/{call.id}-{call.tool.name}"
        if not workflow.patched(CHILD_ID_PATCH):
            return f"{run_id}{suffix}"
        return child_id(run_id, f"{suffix}-{workflow.uuid4().hex[:12]}")


async def run_agent(
    request: dict[str, JsonValue],
    *,
    workflow_id: str,
    key_base: str,
    summary: str,
    priority: Priority,
) -> RawValue:
    """Return what an agent returns that runs as a child; `key_base` begins the keys of its calls."""
    # The plugin reads it before the first await. Each start of a child sets it, so none resets it.
    CHILD_KEY_BASE.set(key_base)
    returned: RawValue = await workflow.execute_child_workflow(
        AGENT_WORKFLOW,
        request,
        id=workflow_id,
        result_type=RawValue,
        parent_close_policy=ParentClosePolicy.REQUEST_CANCEL,
        static_summary=summary,
        priority=priority,
    )
    return returned


def child_id(run_id: str, suffix: str) -> str:
    """Return a workflow id that begins with the parent's, which is shortened if it is long.

    With a longer id than the server allows, it would repeat the workflow task without end.
    """
    if len(f"{run_id}{suffix}".encode()) <= MAX_ID_BYTES:
        return f"{run_id}{suffix}"
    digest = hashlib.sha256(run_id.encode()).hexdigest()[:16]
    room = MAX_ID_BYTES - len(f"~{digest}{suffix}".encode())
    return f"{run_id.encode()[:room].decode(errors='ignore')}~{digest}{suffix}"

"""Runs of agents as child workflows of other workflows."""

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue
from temporalio import workflow
from temporalio.exceptions import ApplicationError, ChildWorkflowError

from outlast.contracts.limits import Limits
from outlast.contracts.names import AGENT_WORKFLOW, AGENTS_QUEUE, run_id_problem
from outlast.contracts.results import AgentResult, Answer
from outlast.errors import RunFailed
from outlast.start_requests import checked_run_id, request_json
from outlast.text.json_text import JsonInput, plain_json

if TYPE_CHECKING:
    from outlast.agents.agent import Agent


async def run_agent(
    agent: "Agent[Any, Answer] | str | None" = None,
    input: JsonInput = None,  # noqa: A002 the contract's word
    *,
    spec: Mapping[str, Any] | None = None,
    limits: Limits | Mapping[str, Any] | None = None,
    tenant: str = "default",
    id: str | None = None,  # noqa: A002 Temporal's word
    task_queue: str = AGENTS_QUEUE,
) -> AgentResult[Answer]:
    """Run an agent as a child of the current workflow, and return its result.

    The child runs on the workers of `task_queue`. The worker of the caller needs neither outlast's plugin
    nor its data converter. With an `Agent` instead of its name, the output is a value of its output type.
    Cancelling the caller cancels the child. Raises `BadRequest` before the child starts if the request is
    invalid, `RunFailed` if the run fails, and `OutputMismatch` if the answer is not of the output type.
    """
    name = agent if agent is None or isinstance(agent, str) else agent.name
    request = request_json(
        agent=name, spec=spec, input=plain_json(input), tenant=tenant, limits=limits
    )
    try:
        result: dict[str, JsonValue] = await workflow.execute_child_workflow(
            AGENT_WORKFLOW,
            request,
            id=_default_id(name or "spec") if id is None else checked_run_id(id),
            task_queue=task_queue,
            result_type=dict,
            parent_close_policy=workflow.ParentClosePolicy.REQUEST_CANCEL,
        )
    except ChildWorkflowError as error:
        cause = error.cause
        if isinstance(cause, ApplicationError):
            raise RunFailed(
                cause.message, run_id=error.workflow_id, cause_type=cause.type or ""
            ) from error
        raise
    # A cancelled agent completes with a partial result, but its cancelled caller must stop.
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
    output_type = None if agent is None or isinstance(agent, str) else agent.output_type
    return AgentResult.model_validate(result).typed(output_type)


def _default_id(name: str) -> str:
    """Return the id of a child: it begins with the id of its parent, unless that cannot be in one."""
    own = f"{name}-{workflow.uuid4().hex[:8]}"
    child_id = f"{workflow.info().workflow_id}/{own}"
    return child_id if run_id_problem(child_id) is None else own

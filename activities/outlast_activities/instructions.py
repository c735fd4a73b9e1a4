"""Instructions that a function of the request writes, once in each run."""

import asyncio
from datetime import timedelta
from typing import Any

from temporalio import activity
from temporalio.client import Client
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError

from outlast.agents.agent import Agent
from outlast.agents.tool_context import RunContext
from outlast.contracts.requests import AgentRequest, instructions_problem
from outlast.errors import AgentFailed, BadRequest
from outlast.start_requests import parse_request
from outlast_activities.tool_runner import ToolRunner

INSTRUCTIONS_S = 20.0
"""How long a function may take to write instructions. It is less than the timeout of the activity."""

RPC_TIMEOUT = timedelta(seconds=10)
"""The timeout of one call to the server. After it the attempt fails, and Temporal retries it."""


class InstructionWriter:
    """Returns the instructions of agents for the run that the current activity belongs to."""

    def __init__(self, client: Client, runner: ToolRunner) -> None:
        self._client = client
        self._runner = runner

    async def instructions_of(self, agent: Agent[Any, Any]) -> str:
        """Return the instructions of an agent.

        Raises `AgentFailed` if its function is broken, and `BadRequest` if the function raises it.
        """
        function = agent.instructions_function
        if function is None:
            return str(agent.instructions)
        what = f"the instructions of agent {agent.name!r}"
        request, info = await self._request(), activity.info()
        context = RunContext(
            workflow_id=info.workflow_id or "",
            workflow_run_id=info.workflow_run_id or "",
            tenant=request.tenant,
        )
        try:
            async with asyncio.timeout(INSTRUCTIONS_S):
                written: str = await self._runner.call_for_agent(
                    agent.name, "instructions", function, context, request
                )
        except TimeoutError:
            took = f"took longer than {INSTRUCTIONS_S:g} s"
            raise AgentFailed(f"{what} {took}", retryable=True) from None
        except ApplicationError as error:
            if error.type == BadRequest.__name__:
                raise BadRequest(error.message) from None
            reason = f"{error.type}: {error.message}"
            raise AgentFailed(f"{what} failed: {reason}", retryable=True) from error.__cause__
        problem = instructions_problem(written)
        if problem is not None:
            raise AgentFailed(f"{what} {problem}")
        return written

    async def _request(self) -> AgentRequest:
        """Return the request of the run. The server has it, so that the run need not record it again."""
        info = activity.info()
        run = self._client.get_workflow_handle(info.workflow_id or "", run_id=info.workflow_run_id)
        events = run.fetch_history_events(page_size=1, rpc_timeout=RPC_TIMEOUT)
        started = (await anext(events)).workflow_execution_started_event_attributes
        (request,) = await self._client.data_converter.decode(started.input.payloads, [RawValue])
        return parse_request(request.payload.data).request

"""Requests to A2A agents about tasks that they have begun."""

from pydantic import JsonValue, ValidationError
from temporalio import workflow

from outlast.contracts.a2a_calls import A2aMethod, AgentCall, AgentTask
from outlast.contracts.effects import Effect
from outlast.contracts.http_calls import agent_activity
from outlast.pipelines.a2a_parameters import text_parameters
from outlast_workflows.pipelines.gate import Gate
from outlast_workflows.pipelines.http_calls import HttpCalls
from outlast_workflows.pipelines.state import RemoteTask
from outlast_workflows.pipelines.task_errors import TaskError
from outlast_workflows.time_limits import time_limit

CANCEL_WITHIN_S = 30.0
"""How long a call that ends early waits until the agent has cancelled the task."""


class A2aRequests:
    """Sends the requests of one pipeline as activities."""

    def __init__(self, http: HttpCalls, gate: Gate) -> None:
        self._http = http
        self._gate = gate

    async def run(self, effect: Effect, request: AgentCall) -> JsonValue:
        """Return the result of a request. Raises `TaskError`."""
        with self._gate.under_way():
            # Other tasks and all handlers run meanwhile. They share only the counters with this call.
            return await self._http.run(agent_activity(effect), request, "A2A")

    async def task(self, effect: Effect, request: AgentCall) -> AgentTask:
        """Return how a message stands after a request that awaits its task."""
        result = await self.run(effect, request)
        try:
            return AgentTask.model_validate(result)
        except ValidationError:
            raise TaskError("the worker returned an invalid task of an agent") from None

    async def current(self, remote: RemoteTask) -> AgentTask:
        """Return a task as it is now."""
        params: dict[str, JsonValue] = {"id": remote.id}
        if remote.history_length is not None:
            params["historyLength"] = remote.history_length
        return await self.task("read", _request(remote, "GetTask", params, awaits_task=True))

    async def answer(self, remote: RemoteTask, text: str, effect: Effect) -> None:
        """Send a text to a task that waits for input."""
        message_id = f"{remote.message_id}-{remote.answers}"
        params = text_parameters(text, message_id, remote.id, remote.context_id)
        await self.task(effect, _request(remote, "SendMessage", params, awaits_task=True))

    async def cancel(self, remote: RemoteTask) -> None:
        """Cancel a task. One that has ended, or that the agent cannot cancel, is logged."""
        try:
            async with time_limit(CANCEL_WITHIN_S, "cancels the task of an agent"):
                await self.run("idempotent", _request(remote, "CancelTask", {"id": remote.id}))
        except (TaskError, TimeoutError) as error:
            reason = error.detail if isinstance(error, TaskError) else "no answer in time"
            workflow.logger.warning(
                "a2a_task.not_cancelled", extra={"task_id": remote.id, "reason": reason}
            )


def _request(
    remote: RemoteTask,
    method: A2aMethod,
    params: dict[str, JsonValue],
    *,
    awaits_task: bool = False,
) -> AgentCall:
    tenant: dict[str, JsonValue] = {"tenant": remote.tenant} if remote.tenant else {}
    return AgentCall(
        url=remote.url,
        method=method,
        params={**params, **tenant},
        authentication=remote.authentication,
        awaits_task=awaits_task,
    )

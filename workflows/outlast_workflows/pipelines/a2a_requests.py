"""Requests to A2A agents about tasks that they have begun."""

from pydantic import JsonValue, ValidationError
from temporalio import workflow

from outlast.contracts.a2a_calls import A2aMethod, AgentCall, AgentTask
from outlast.contracts.effects import Effect
from outlast.contracts.http_calls import agent_activity
from outlast.pipelines.a2a_parameters import text_parameters
from outlast.pipelines.errors import COMMUNICATION
from outlast_workflows.pipelines.gate import Gate
from outlast_workflows.pipelines.http_calls import HttpCalls
from outlast_workflows.pipelines.state import RemoteTask
from outlast_workflows.pipelines.task_errors import TaskError
from outlast_workflows.time_limits import time_limit

CANCEL_WITHIN_S = 30.0
"""How long a call that ends early waits until the agent has cancelled the task."""

REPEAT_AFTER_S = 5.0
"""The pause before an answer or a cancellation is sent again to an agent that is away."""

MAX_LOST_REQUESTS = 30
"""Times that an answer of a person is sent, each with the attempts of its activity: minutes at least."""

REPEAT_REQUESTS_PATCH = "repeat-a2a-requests"

_PASSING = (408, 425, 429)
"""Statuses below 500 after which a later request may succeed."""


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
        """Send a text to a task that waits for input. Repeat it while the agent cannot be reached."""
        message_id = f"{remote.message_id}-{remote.answers}"
        params = text_parameters(text, message_id, remote.id, remote.context_id)
        request = _request(remote, "SendMessage", params, awaits_task=True)
        lost = 0
        while True:  # bounded by MAX_LOST_REQUESTS
            try:
                await self.task(effect, request)
            except TaskError as error:
                lost += 1
                is_last = effect == "write" or lost >= MAX_LOST_REQUESTS
                if is_last or not await self._may_repeat(error):
                    raise
            else:
                return

    async def cancel(self, remote: RemoteTask) -> None:
        """Cancel a task. One that has ended, or that the agent cannot cancel, is logged."""
        request = _request(remote, "CancelTask", {"id": remote.id})
        try:
            async with time_limit(CANCEL_WITHIN_S, "cancels the task of an agent"):
                while True:  # bounded by CANCEL_WITHIN_S
                    try:
                        await self.run("idempotent", request)
                    except TaskError as error:
                        if not await self._may_repeat(error):
                            raise
                    else:
                        return
        except (TaskError, TimeoutError) as error:
            reason = error.detail if isinstance(error, TaskError) else "no answer in time"
            workflow.logger.warning(
                "a2a_task.not_cancelled", extra={"task_id": remote.id, "reason": reason}
            )

    async def _may_repeat(self, error: TaskError) -> bool:
        """Wait before a request is repeated. Return whether it may succeed then."""
        if not may_pass(error) or not workflow.patched(REPEAT_REQUESTS_PATCH):
            return False
        # Everything else runs meanwhile. It does not change the request.
        await workflow.sleep(REPEAT_AFTER_S, summary="waits for an agent that is away")
        return True


def may_pass(error: TaskError) -> bool:
    """Return whether a later request may succeed: the agent was not reached, or is busy."""
    is_passing = error.status >= 500 or error.status in _PASSING
    return error.type == COMMUNICATION and is_passing


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

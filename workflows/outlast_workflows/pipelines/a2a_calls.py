"""Calls of A2A agents by a pipeline: sends a message once, and waits for its task.

The worker sends all attempts of a message with the same id, so an agent that knows its messages begins one
task. A call that ends before its task cancels the task.
"""

import asyncio
import hashlib
from datetime import datetime

from pydantic import JsonValue, ValidationError
from temporalio import workflow

from outlast.contracts.a2a_calls import AgentCall, AgentCard, AgentInterface, AgentTask
from outlast.contracts.a2a_states import COMPLETED, ENDED
from outlast.contracts.effects import Effect
from outlast.contracts.names import FIND_AGENT
from outlast.pipelines.a2a_parameters import InvalidParameters, returns_at_once, wire_parameters
from outlast.pipelines.errors import RUNTIME, VALIDATION
from outlast.pipelines.tasks import A2aCall
from outlast_workflows.pipelines.a2a_requests import A2aRequests
from outlast_workflows.pipelines.a2a_waits import A2aWait
from outlast_workflows.pipelines.calls import Calls
from outlast_workflows.pipelines.evaluation import Evaluator, TaskData
from outlast_workflows.pipelines.gate import Gate
from outlast_workflows.pipelines.http_calls import HttpCalls
from outlast_workflows.pipelines.state import PipelineState, RemoteTask
from outlast_workflows.pipelines.strands import begin_strands, in_strand, strand_place
from outlast_workflows.pipelines.task_errors import TaskError

SENT_WITHIN_S = 90.0
"""How long a cancelled call waits for the end of its message, to cancel the task that it begins: longer
than one attempt."""

_ENDS = {
    "TASK_STATE_FAILED": "the task of the agent failed",
    "TASK_STATE_REJECTED": "the agent rejected the message",
    "TASK_STATE_CANCELED": "the task of the agent was cancelled",
}


class A2aCalls:
    """Makes the A2A calls of one pipeline."""

    def __init__(
        self,
        state: PipelineState,
        gate: Gate,
        evaluator: Evaluator,
        *,
        http: HttpCalls,
        calls: Calls,
    ) -> None:
        self._state = state
        self._gate = gate
        self._evaluator = evaluator
        self._http = http
        self._calls = calls
        self._requests = A2aRequests(http, gate)

    async def call(self, data: TaskData, body: A2aCall, address: str) -> JsonValue:
        """Return the output of `call: a2a`. That of a message is its task, when that has ended.

        The call is a strand of its own: how often it asks for the state of the task depends on the time.
        """
        is_sent = address in self._state.remote_tasks
        strands = "" if is_sent else begin_strands(self._state)
        with in_strand(self._state, address, strands and f"{strands}0"):
            return await self._call(data, body, address)

    async def _call(self, data: TaskData, body: A2aCall, address: str) -> JsonValue:
        remote = self._state.remote_tasks.get(address)
        if remote is not None:  # the run before has sent the message
            return await self._end_of(data, body, remote, None, address)
        request, further_ids = await self._request(data, body)
        if not request.awaits_task:
            return await self._requests.run(body.effect, request)
        began_at = workflow.now()
        task = await self._sent(body.effect, request)
        remote = _remote(request, task, further_ids, began_at)
        return await self._end_of(data, body, remote, task, address)

    async def _request(self, data: TaskData, body: A2aCall) -> tuple[AgentCall, str]:
        """Return the request of a call, and what begins the ids of further messages.

        After a reset, the message has the same id, so an agent that knows its messages begins no second
        task. Answers have other ids, because the agent may ask something else then.
        """
        value = self._evaluator.value(data, body.parameters)
        further_ids, place = str(workflow.uuid4()), strand_place(self._state)
        key = hashlib.sha256(f"{self._state.run.key_base}/{place}message".encode())
        message_id = key.hexdigest()[:32] if place else further_ids
        try:
            params = wire_parameters(body.method, value, message_id)
        except InvalidParameters as error:
            raise TaskError(
                "the parameters are not valid", type=VALIDATION, status=400, detail=str(error)
            ) from None
        agent = await self._agent(data, body)
        if agent.tenant:
            params.setdefault("tenant", agent.tenant)
        request = AgentCall(
            url=agent.url,
            method=body.method,
            params=params,
            authentication=body.endpoint.authentication,
            awaits_task=body.method == "SendMessage" and not returns_at_once(value),
        )
        message = params.get("message")
        given = message.get("messageId") if isinstance(message, dict) else None
        return request, further_ids if given == message_id else str(given or further_ids)

    async def _agent(self, data: TaskData, body: A2aCall) -> AgentInterface:
        """Return where the agent takes calls, from its card if the document names one."""
        url = self._http.url(data, body.endpoint)
        if not body.has_card:
            return AgentInterface(url=url)
        card = AgentCard(url=url, authentication=body.endpoint.authentication)
        with self._gate.under_way():
            # Other tasks and all handlers run meanwhile. They share nothing with this call.
            found = await self._http.run(FIND_AGENT, card, "A2A")
        try:
            return AgentInterface.model_validate(found)
        except ValidationError:
            raise TaskError("the worker returned an invalid agent") from None

    async def _sent(self, effect: Effect, request: AgentCall) -> AgentTask:
        """Send a message. If the call is cancelled meanwhile, the task that begins is cancelled too."""
        sending = asyncio.ensure_future(self._requests.task(effect, request))
        try:
            # Everything else runs meanwhile. The message is not recalled: nobody knows whether it arrived.
            return await asyncio.shield(sending)
        except asyncio.CancelledError:
            try:
                await workflow.wait_condition(
                    sending.done, timeout=SENT_WITHIN_S, timeout_summary="a message is being sent"
                )
            except TimeoutError:
                sending.cancel()
            if sending.done() and not sending.cancelled() and sending.exception() is None:
                task = sending.result()
                if task.id and task.state not in ENDED:
                    await self._requests.cancel(_remote(request, task, "", workflow.now()))
            raise

    async def _end_of(
        self,
        data: TaskData,
        body: A2aCall,
        remote: RemoteTask,
        task: AgentTask | None,
        address: str,
    ) -> JsonValue:
        """Return the output of a message when its task has ended."""
        self._state.remote_tasks[address] = remote
        wait = A2aWait(
            data, body, remote, gate=self._gate, calls=self._calls, requests=self._requests
        )
        try:
            ended = await wait.end(task, lambda: self._gate.enter(self._state.task_runs))
        except (asyncio.CancelledError, TaskError):
            if remote.id:
                await self._requests.cancel(remote)
            raise
        finally:
            # A run that continues as new does not come here: the task stays in `remote_tasks`.
            self._state.remote_tasks.pop(address, None)
        if not ended.id:
            return {"message": ended.value}
        if ended.state == COMPLETED:
            return {"task": ended.value}
        raise TaskError(_ENDS[ended.state], type=RUNTIME, status=500, detail=ended.text)


def _remote(request: AgentCall, task: AgentTask, message_id: str, began_at: datetime) -> RemoteTask:
    configuration = request.params.get("configuration")
    length = configuration.get("historyLength") if isinstance(configuration, dict) else None
    return RemoteTask(
        url=request.url,
        tenant=str(request.params.get("tenant") or ""),
        id=task.id,
        context_id=task.context_id,
        message_id=message_id,
        began_at=began_at,
        authentication=request.authentication,
        history_length=length if isinstance(length, int) else None,
    )

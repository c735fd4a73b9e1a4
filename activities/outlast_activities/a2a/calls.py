"""Calls of agents: JSON-RPC through the HTTP client of pipelines. Source: A2A 1.0, section 9."""

from typing import Any, Protocol

from pydantic import JsonValue

from outlast.agents.tool_context import ToolContext
from outlast.contracts.a2a_calls import AgentCall, AgentCard, AgentInterface
from outlast.contracts.effects import Effect
from outlast.contracts.http_calls import HttpCallRequest
from outlast_activities.a2a.cards import PROTOCOL_VERSION, interface_of
from outlast_activities.a2a.failures import agent_error, named_by_status, unreadable
from outlast_activities.a2a.tasks import agent_task

_HEADERS: dict[str, JsonValue] = {"a2a-version": PROTOCOL_VERSION, "accept": "application/json"}


class HttpCaller(Protocol):
    """Makes HTTP calls that the worker allows."""

    async def call(
        self, call: HttpCallRequest, effect: Effect, context: ToolContext[Any]
    ) -> JsonValue:
        """Make a call, and return its output."""
        ...


async def find_agent(
    http: HttpCaller, card: AgentCard, context: ToolContext[Any]
) -> AgentInterface:
    """Return where the agent of a card takes calls. Raises `HttpCallFailed`."""
    request = HttpCallRequest(
        url=card.url, headers=_HEADERS, authentication=card.authentication, redirect=True
    )
    with named_by_status():
        content = await http.call(request, "read", context)
    return interface_of(content, card.url)


async def call_agent(
    http: HttpCaller, call: AgentCall, effect: Effect, context: ToolContext[Any]
) -> JsonValue:
    """Return the result of a call. Raises `HttpCallFailed`, or `ConnectionLost` to try again.

    All attempts send the same message id, by which an agent recognizes a message that it has.
    """
    body: JsonValue = {
        "jsonrpc": "2.0",
        "id": context.call_id,
        "method": call.method,
        "params": call.params,
    }
    request = HttpCallRequest(
        method="POST",
        url=call.url,
        headers=_HEADERS,
        body=body,
        authentication=call.authentication,
    )
    with named_by_status():
        answer = await http.call(request, effect, context)
    result = _result(answer, context.call_id)
    if not call.awaits_task:
        return result
    task: JsonValue = agent_task(result, call.method).model_dump(mode="json")
    return task


def _result(answer: JsonValue, identifier: str) -> JsonValue:
    if not isinstance(answer, dict) or answer.get("jsonrpc") != "2.0":
        raise unreadable("did not answer in JSON-RPC 2.0")
    if answer.get("error") is not None:
        raise agent_error(answer["error"])
    if answer.get("id") != identifier or "result" not in answer:
        raise unreadable("answered another request, or without a result")
    return answer["result"]

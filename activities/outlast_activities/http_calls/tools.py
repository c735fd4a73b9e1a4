"""The activities of HTTP calls, as tools that only pipelines call."""

from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Protocol

from pydantic import BaseModel, JsonValue, TypeAdapter

from outlast.agents.tool_context import ToolContext
from outlast.agents.tools import Tool
from outlast.contracts.a2a_calls import AgentCall, AgentCard
from outlast.contracts.http_calls import (
    HttpCallRequest,
    HttpProblem,
    OpenApiQuery,
    agent_activity,
)
from outlast.contracts.http_tools import HTTP_TOOLS
from outlast.contracts.names import FIND_AGENT, FIND_OPERATION
from outlast.errors import HttpCallFailed
from outlast.pipelines.errors import AUTHORIZATION
from outlast_activities.a2a.calls import HttpCaller, call_agent, find_agent


class Caller(HttpCaller, Protocol):
    """Makes HTTP calls, and reads OpenAPI documents. The worker opens one for each event loop."""

    async def find_operation(
        self, query: OpenApiQuery, context: ToolContext[Any]
    ) -> dict[str, JsonValue]:
        """Return an operation of an OpenAPI document."""
        ...


NOTHING_ALLOWED = "HTTP calls are not allowed: set http.hosts in the settings of the workers"


async def _called_by_name(*_: Any, **__: Any) -> Any:
    raise NotImplementedError("an HTTP call is made by the client of the worker")


@dataclass(frozen=True)
class HttpTool(Tool[Any, ..., Any]):
    """An activity of HTTP calls."""

    @property
    def is_async(self) -> bool:
        """True: the call waits for the server."""
        return True

    @property
    def place(self) -> str:
        """The activity."""
        return f"the activity {self.name}"

    async def invoke_async(
        self, arguments: bytes, context: ToolContext[Any] | None = None
    ) -> bytes:
        """Make the call with the client of the worker, and return its output as JSON."""
        caller: Caller | None = None if context is None else context.deps
        if context is None or caller is None:
            problem = HttpProblem(type=AUTHORIZATION, status=HTTPStatus.FORBIDDEN)
            raise HttpCallFailed(NOTHING_ALLOWED, problem.model_dump())
        return self.encoded(await self._result(arguments, caller, context))

    async def _result(
        self, arguments: bytes, caller: Caller, context: ToolContext[Any]
    ) -> JsonValue:
        effect = self.spec.effect
        if self.name == FIND_OPERATION:
            query = OpenApiQuery.model_validate_json(arguments)
            return await caller.find_operation(query, context)
        if self.name == FIND_AGENT:
            card = AgentCard.model_validate_json(arguments)
            found: JsonValue = (await find_agent(caller, card, context)).model_dump(mode="json")
            return found
        if self.name == agent_activity(effect):
            request = AgentCall.model_validate_json(arguments)
            return await call_agent(caller, request, effect, context)
        call = HttpCallRequest.model_validate_json(arguments)
        return await caller.call(call, effect, context)


def http_tools() -> list[HttpTool]:
    """Return the activities of HTTP calls."""
    return [
        HttpTool(
            function=_called_by_name,
            spec=spec,
            arguments=BaseModel,
            result=TypeAdapter(JsonValue),
        )
        for spec in HTTP_TOOLS
    ]

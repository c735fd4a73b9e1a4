"""Calls of A2A agents by pipelines, as a workflow sends them to a worker."""

from typing import Literal

from pydantic import JsonValue

from outlast.contracts.base import WireModel
from outlast.contracts.http_calls import HttpAuthentication

A2aMethod = Literal["SendMessage", "GetTask", "CancelTask"]
"""The methods that pipelines call, as A2A 1.0 names them."""


class AgentCard(WireModel):
    """The argument of the activity `find_a2a_agent`: where the card of an agent is."""

    url: str
    authentication: HttpAuthentication | None = None


class AgentInterface(WireModel):
    """The result of `find_a2a_agent`: where an agent takes calls, and the `tenant` that they must name."""

    url: str
    tenant: str = ""


class AgentCall(WireModel):
    """The argument of the activities `call_a2a_…`: one request of JSON-RPC."""

    url: str
    method: A2aMethod
    params: dict[str, JsonValue]
    authentication: HttpAuthentication | None = None
    awaits_task: bool = False
    """Whether the result is an `AgentTask`, instead of the result as the agent sent it."""


class AgentTask(WireModel):
    """How a message stands: the state of its task, or the reply of an agent that began no task."""

    id: str = ""
    """Empty for a reply without a task."""
    context_id: str = ""
    state: str = ""
    text: str = ""
    """What the status says, such as a question or the reason of a failure."""
    status_id: str = ""
    """Identifies the status of a task that waits for input: the same until the agent changes it."""
    value: JsonValue = None
    """The whole task if it has ended, or the reply. Null for a task that goes on."""

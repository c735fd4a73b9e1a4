"""Tools as activities: each is an activity type of its own name, with one JSON argument."""

from collections.abc import Callable
from typing import Any, Protocol

from temporalio import activity
from temporalio.api.common.v1 import Payload
from temporalio.common import RawValue

from activities.heartbeats import heartbeats
from outlast.tools import Tool


class ResultMemory(Protocol):
    """Keeps tool results near, for the model call that follows."""

    def keep_result(self, workflow_id: str, call_id: str, content: str) -> None:
        """Keep a result; losing it costs a query."""
        ...


def tool_activity(tool: Tool[..., Any], memory: ResultMemory) -> Callable[..., Any]:
    """Return the activity that runs a tool."""

    async def run(arguments: dict[str, Any]) -> RawValue:
        async with heartbeats():
            encoded = await tool.invoke(arguments)
        info = activity.info()
        if info.workflow_id is not None:
            memory.keep_result(info.workflow_id, info.activity_id, encoded.decode())
        return RawValue(Payload(metadata={"encoding": b"json/plain"}, data=encoded))

    return activity.defn(name=tool.name)(run)

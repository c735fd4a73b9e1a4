"""Tools as activities: runs one call on a worker that knows its tool, and reads its result."""

from temporalio import workflow
from temporalio.common import Priority, RawValue
from temporalio.exceptions import ActivityError

from outlast.contracts.agents import Leg, Route, ToolSpec
from outlast.contracts.effects import EFFECTFUL
from outlast.contracts.names import WAITED_HEADER
from outlast.errors import ToolFailed
from outlast.json_text import to_json
from outlast.tools import MAX_RESULT_BYTES
from outlast_workflows.activity_options import (
    UNREGISTERED_TRIES,
    UNREGISTERED_WAIT,
    WAIT_CANCELLATION_COMPLETED,
    Step,
    tool_options,
    was_not_registered,
    was_not_started,
)
from outlast_workflows.call_batch import PlannedCall
from outlast_workflows.display_text import call_summary
from outlast_workflows.legs import Legs
from outlast_workflows.run_display import RunDisplay

JSON_ENCODINGS = ("json/plain", "json/protobuf")


class ToolActivities:
    """Runs the tool calls of one run as activities; tools without a route use the agent's."""

    def __init__(
        self, agent_route: Route, legs: Legs, display: RunDisplay, priority: Priority
    ) -> None:
        self._agent_route = agent_route
        self._legs = legs
        self._display = display
        self._priority = priority

    def route_of(self, tool: ToolSpec) -> Route:
        """Return the route of a tool."""
        return tool.route or self._agent_route

    async def execute(self, call: PlannedCall) -> str:
        """Return the result of a call as JSON text.

        Raises the `ActivityError` of a failed call, `NoWorker` if no worker took it, and `ToolFailed` if
        no worker knows the tool, or the result is not JSON.
        """
        for _ in range(UNREGISTERED_TRIES):
            try:
                # Other calls of the batch, and all handlers, run meanwhile. Nothing here is shared with
                # them except `Legs`, which explains its own awaits.
                result = await self._legs.serve(
                    self.route_of(call.tool),
                    step=f"{call.tool.name} (call {call.id})",
                    start=lambda leg: self._start(call, leg),
                    waited_s=_waited_s,
                    # A call that a worker has started is not started on another leg: its own retry policy
                    # decides whether it may be repeated.
                    moves_on=was_not_started,
                )
            except ActivityError as error:
                if not was_not_registered(error):
                    raise
            else:
                return _json_of(result, call.tool)
            self._display.show_acting(
                f"{call_summary(call.call)} waits for a worker that serves it"
            )
            # A timer alone: what other calls and handlers do meanwhile makes no difference to this call.
            await workflow.sleep(UNREGISTERED_WAIT, summary=f"{call.tool.name} is not served")
        raise ToolFailed(
            f"{call.tool.name} (call {call.id}): no worker serves it: start one with its agent"
        )

    async def _start(self, call: PlannedCall, leg: Leg) -> RawValue:
        tool = call.tool
        step = Step(call.id, call_summary(call.call), self._priority)
        options = tool_options(tool, step, leg, self.route_of(tool))
        if tool.effect in EFFECTFUL:
            # A call that is cancelled may have happened. The run waits for its outcome, to undo it.
            options["cancellation_type"] = WAIT_CANCELLATION_COMPLETED
        result: RawValue = await workflow.execute_activity(
            tool.name, call.arguments, result_type=RawValue, **options
        )
        return result


def _waited_s(result: RawValue) -> float:
    """Return how long a call waited for its worker, or 0 if the worker does not report it."""
    try:
        return float(result.payload.metadata.get(WAITED_HEADER, b"0"))
    except ValueError:
        return 0


def _json_of(result: RawValue, tool: ToolSpec) -> str:
    payload = result.payload
    encoding = payload.metadata.get("encoding", b"").decode()
    if encoding == "binary/null":
        return "null"
    if encoding not in JSON_ENCODINGS:
        raise ToolFailed(f"{tool.name} returned {encoding!r}; a tool returns JSON")
    if len(payload.data) > MAX_RESULT_BYTES:
        return to_json({"error": f"{tool.name} returned {len(payload.data):,} bytes; ask for less"})
    return payload.data.decode()

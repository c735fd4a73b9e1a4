"""Tools as activities: runs one call on a worker that knows its tool, and reads its result."""

from collections.abc import Sequence
from typing import Any

from temporalio import workflow
from temporalio.common import Priority, RawValue
from temporalio.exceptions import ActivityError

from outlast.agents.tools import MAX_RESULT_BYTES
from outlast.contracts.agents import Leg, Route, ToolSpec
from outlast.contracts.generation import MAX_WAITED_S
from outlast.contracts.names import WAITED_HEADER
from outlast.errors import ToolFailed
from outlast.temporal.call_headers import (
    CALL_HOOKS,
    CALL_KEY,
    CALL_PIN,
    CALL_TENANT,
)
from outlast.temporal.call_proof import CALL_PROOF
from outlast.text.json_text import MAX_JSON_DEPTH, NestedTooDeep, to_json
from outlast_workflows.activity_options import (
    UNREGISTERED_TRIES,
    UNREGISTERED_WAIT,
    WAIT_CANCELLATION_COMPLETED,
    Step,
    tool_options,
    was_not_registered,
    was_not_started,
)
from outlast_workflows.budget import Spending
from outlast_workflows.calls.call_batch import PlannedCall
from outlast_workflows.calls.call_keys import CallKeys
from outlast_workflows.calls.local_calls import LocalCalls
from outlast_workflows.calls.server_input import MAX_ROUNDS, questions_of, with_input
from outlast_workflows.display_text import call_summary
from outlast_workflows.legs import Legs
from outlast_workflows.payloads import result_text
from outlast_workflows.people.human_requests import HumanRequests
from outlast_workflows.run_display import RunDisplay
from outlast_workflows.step_failures import asks_for_retry, cause_of

MAX_RETRIES = 3
"""Turns in a row in which a tool may raise `Retry`. After the last one, the run fails."""


class UnreadableResult(ToolFailed):
    """Raised for a call that happened, but whose result cannot be used.

    If it is final, the worker is broken, and the run fails. Otherwise the model reads the reason.
    """

    def __init__(self, message: str, *, is_final: bool = True) -> None:
        super().__init__(message, kind=ToolFailed.__name__)
        self.is_final = is_final

    def text_for_model(self) -> str:
        """Return the error as JSON text for the model; raises this error if it is final."""
        if self.is_final:
            raise self
        return to_json({"error": str(self.message)})


class ToolActivities:
    """Runs the tool calls of one run as activities; tools without a route use the agent's.

    `keys` are the idempotency keys of the run.
    """

    def __init__(  # noqa: PLR0913 parts of one run, each by name
        self,
        agent_route: Route,
        legs: Legs,
        display: RunDisplay,
        priority: Priority,
        requests: HumanRequests,
        *,
        spending: Spending,
        keys: CallKeys,
        tenant: str,
        not_local: list[str],
        hooks: Sequence[str],
    ) -> None:
        self._local = LocalCalls(not_local)
        self._spending = spending
        self.keys = keys
        self._requests = requests
        self._tenant = tenant
        self._hooks = ",".join(hooks)
        self._agent_route = agent_route
        self._legs = legs
        self._display = display
        self._priority = priority
        self._in_flight: dict[str, workflow.ActivityHandle[Any]] = {}

    def cancel(self, call_id: str) -> None:
        """Cancel a call that no worker has begun. A worker that has begun it goes on to its end."""
        handle = self._in_flight.get(call_id)
        if handle is not None:
            handle.cancel()

    def route_of(self, tool: ToolSpec) -> Route:
        """Return the route of a tool."""
        return tool.route or self._agent_route

    def is_local(self, tool: ToolSpec) -> bool:
        """Tell whether calls of a tool are local activities first."""
        return self._local.takes(tool)

    async def execute(self, call: PlannedCall) -> str:
        """Return the result of a call as JSON text. People answer what an MCP server asks meanwhile.

        Raises the `ActivityError` of a failed call, `NoWorker` if no worker took it, `ToolFailed` if no
        worker knows the tool or it requested another try too often, and `UnreadableResult` if the call
        happened and its result is unusable.
        """
        for number in range(1, MAX_ROUNDS + 1):
            try:
                return await self._execute(call)
            except ActivityError as error:
                questions = questions_of(error)
                if questions is None:
                    raise
            call = await with_input(call, questions, self._requests, number)
        raise ToolFailed(
            f"{call.tool.name} (call {call.id}): its server requested input {MAX_ROUNDS} times"
        )

    async def _execute(self, call: PlannedCall) -> str:
        if call.batch.is_local and self.is_local(call.tool):
            result = await self._run_local(call)
            if result is not None:
                self._spending.retries.pop(call.tool.name, None)
                return _json_of(result, call.tool)
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
                    self._note_retry(call, error)
                    raise
            else:
                self._spending.retries.pop(call.tool.name, None)
                return _json_of(result, call.tool)
            self._display.show_acting(
                f"{call_summary(call.call)} waits for a worker that serves it"
            )
            # A timer alone: what other calls and handlers do meanwhile makes no difference to this call.
            await workflow.sleep(UNREGISTERED_WAIT, summary=f"{call.tool.name} is not served")
        raise ToolFailed(
            f"{call.tool.name} (call {call.id}): no worker serves it: start one with its agent"
        )

    def _note_retry(self, call: PlannedCall, error: ActivityError) -> None:
        """Raise `ToolFailed` if a tool rejects its calls in too many turns in a row."""
        if not asks_for_retry(error):
            return
        turns = self._spending.add_retry(call.tool.name)
        if turns >= MAX_RETRIES:
            raise ToolFailed(
                f"{call.tool.name} (call {call.id}): it rejected the calls of {turns} turns in a row:"
                f" {cause_of(error)}"
            )

    async def _run_local(self, call: PlannedCall) -> RawValue | None:
        """Return the result of a local call, or None if it must run as an ordinary activity."""
        self._set_headers(call)
        token = CALL_KEY.set(self.keys.key_of(call))
        try:
            # See `LocalCalls` for what runs meanwhile.
            result = await self._local.attempt(call)
        except ActivityError as error:
            self._note_retry(call, error)
            raise
        finally:
            CALL_KEY.reset(token)
        if result is not None:
            self._legs.count_local(self.route_of(call.tool).legs[0])
        return result

    async def _start(self, call: PlannedCall, leg: Leg) -> RawValue | None:
        tool = call.tool
        step = Step(call.id, call_summary(call.call), self._priority)
        options = tool_options(tool, step, leg, self.route_of(tool))
        if tool.must_end:
            # A call that is cancelled may have happened. The run waits for its outcome, to undo it.
            options["cancellation_type"] = WAIT_CANCELLATION_COMPLETED
        self._set_headers(call)
        token = CALL_KEY.set(self.keys.key_of(call))
        try:
            handle = self._in_flight[call.id] = workflow.start_activity(
                tool.name, call.activity_input, result_type=RawValue, **options
            )
        finally:
            CALL_KEY.reset(token)
        try:
            result: RawValue | None = await handle
        finally:
            del self._in_flight[call.id]
        return result

    def _set_headers(self, call: PlannedCall) -> None:
        """Set what the plugin sends in headers of the call."""
        CALL_PROOF.set(call.proof)
        CALL_TENANT.set(self._tenant)
        CALL_PIN.set(call.tool.pin)
        CALL_HOOKS.set(self._hooks)


def _waited_s(result: RawValue | None) -> float:
    """Return how long a call waited for its worker, or 0 if the worker does not report it."""
    try:
        waited_s = float(result.payload.metadata.get(WAITED_HEADER, b"0")) if result else 0.0
    except ValueError:
        return 0
    return waited_s if 0 <= waited_s <= MAX_WAITED_S else 0


def _json_of(result: RawValue | None, tool: ToolSpec) -> str:
    size = len(result.payload.data) if result else 0
    if size > MAX_RESULT_BYTES:
        raise UnreadableResult(f"{tool.name} returned {size:,} bytes; ask for less", is_final=False)
    try:
        return result_text(result)
    except NestedTooDeep:
        reason = f"{tool.name} returned JSON that is nested deeper than {MAX_JSON_DEPTH} levels"
        raise UnreadableResult(reason, is_final=False) from None
    except ValueError as error:
        raise UnreadableResult(f"the result of {tool.name} cannot be read: {error}") from None

"""Effects: carries out the calls of tools, clears up what is unknown, and undoes what was done."""

import asyncio
import contextlib
import json
from collections.abc import Callable

from pydantic import JsonValue
from temporalio import workflow
from temporalio.common import Priority, RawValue
from temporalio.exceptions import ActivityError, is_cancelled_exception

from outlast.contracts.agents import Leg, Route, ToolSpec
from outlast.contracts.effects import EFFECTFUL, RESULT, CompanionTool
from outlast.contracts.human import Approval, SettledRequest
from outlast.contracts.messages import ToolCall
from outlast.contracts.names import WAITED_HEADER
from outlast.contracts.results import CompensationOutcome
from outlast.errors import NoWorker, ToolFailed
from outlast.idempotency import UNDO_SUFFIX, VERIFY_SUFFIX
from outlast.json_text import to_json
from outlast.jsonschema.schemas import Schema
from outlast.tools import DEFAULT_AUDIENCE, MAX_RESULT_BYTES
from outlast_workflows.activity_options import (
    UNREGISTERED_TRIES,
    UNREGISTERED_WAIT,
    Step,
    tool_options,
    was_not_registered,
    was_not_started,
)
from outlast_workflows.display_text import call_summary
from outlast_workflows.legs import Legs
from outlast_workflows.people.requests import Requests
from outlast_workflows.run_display import Presence
from outlast_workflows.state import RunState, Undo
from outlast_workflows.step_failures import cause_of, failed_call, is_unknown, told_to_model

WAIT_CANCELLATION_COMPLETED = workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED

JSON_ENCODINGS = ("json/plain", "json/protobuf")

MAX_REPEATS = 3
"""Repeats of a call that was found not to have happened: its worker was lost each time."""

MAX_UNDO = 100
"""Effects of one run that can be undone: each is carried until the run ends."""

NOT_HAPPENED = ("null", "false")
"""What a `verify` tool returns of a call that did not happen, as JSON."""

HAPPENED: Schema = {"type": "string", "enum": ["it happened", "it did not happen"]}
UNDONE: Schema = {"type": "string", "enum": ["undone by hand", "left as it is"]}

BY_HAND = Approval(audience=DEFAULT_AUDIENCE)
"""Who is asked about an effect whose tool names nobody."""


class Effects:
    """The tool calls of one run, as activities."""

    def __init__(
        self, state: RunState, presence: Presence, requests: Requests, priority: Priority
    ) -> None:
        self._state = state
        self._presence = presence
        self._requests = requests
        self._priority = priority

    async def run(
        self, call_id: str, call: ToolCall, tool: ToolSpec, *, is_moot: Callable[[], bool]
    ) -> str:
        """Return the JSON text that the model reads as the call's result.

        A call of which nobody knows whether it happened is not repeated before that is known. Raises
        `ToolFailed` for what no model can mend.
        """
        if len(self._state.undo) >= MAX_UNDO and tool.compensate is not None:
            return to_json({"error": f"a run may have {MAX_UNDO} effects that can be undone"})
        for number in range(1, 2 + MAX_REPEATS):
            try:
                result = await self._activity(call_id, call, tool)
            except ActivityError as error:
                if is_cancelled_exception(error):
                    await self._note_if_happened(call_id, call, tool)
                    raise asyncio.CancelledError from error
                if not is_unknown(error, tool):
                    return _told(error, tool, call_id)
                asking = f"{call_id}.happened" if number == 1 else f"{call_id}.happened.{number}"
                happened = await self._cleared_up(call_id, call, tool, error, is_moot, asking)
                if happened is None:
                    continue
                return happened
            content = _json_of(result, tool)
            self._done(call_id, call, tool, content)
            return content
        raise ToolFailed(
            f"{tool.name} (call {call_id}): its worker was lost {1 + MAX_REPEATS} times"
        )

    @property
    def are_undoable(self) -> bool:
        """Whether anything was done that can be undone."""
        return bool(self._state.undo)

    async def undo(self) -> list[CompensationOutcome]:
        """Undo what the run did, the last first; return what became of each."""
        outcomes = []
        while self._state.undo:
            done = self._state.undo[-1]
            self._presence.show("acting", f"undoes {done.tool} (call {done.call_id})")
            outcomes.append(await self._undone(done))
            self._state.undo.pop()
        return outcomes

    async def _note_if_happened(self, call_id: str, call: ToolCall, tool: ToolSpec) -> None:
        """Find out of a call that was cancelled under way whether it has to be undone."""
        if tool.compensate is None or tool.verify is None:
            return
        with contextlib.suppress(ActivityError, ToolFailed, NoWorker):
            found = await self._verified(call_id, call, tool, tool.verify)
            if found not in NOT_HAPPENED:
                self._done(call_id, call, tool, found)

    def _done(self, call_id: str, call: ToolCall, tool: ToolSpec, content: str | None) -> None:
        """Remember how a call is undone; what it returned may not be known."""
        if tool.compensate is None:
            return
        given = _given(tool.compensate, call.arguments)
        if RESULT in tool.compensate.takes and content is not None:
            given[RESULT] = json.loads(content)
        audience = tool.approval.audience if tool.approval else DEFAULT_AUDIENCE
        self._state.undo.append(
            Undo(
                call_id=call_id,
                tool=tool.name,
                companion=tool.compensate,
                arguments=given,
                route=self._route(tool),
                audience=audience,
            )
        )

    async def _undone(self, done: Undo) -> CompensationOutcome:
        spec = _spec_of(done.companion, done.route)
        call = ToolCall(tool=spec.name, arguments=done.arguments)
        told = CompensationOutcome(call_id=done.call_id, tool=done.tool, outcome="undone")
        try:
            await self._activity(f"{done.call_id}{UNDO_SUFFIX}", call, spec)
        except (ActivityError, ToolFailed, NoWorker) as error:
            if is_cancelled_exception(error):
                raise asyncio.CancelledError from error
            cause = cause_of(error)
        else:
            return told
        question = f"{spec.name} could not undo {done.tool} (call {done.call_id}): {cause}"
        settled, answer = await self._asked(
            f"{done.call_id}{UNDO_SUFFIX}", call, question, UNDONE, done.audience
        )
        by_hand = answer == "undone by hand"
        return told.model_copy(
            update={
                "outcome": "undone_by_hand" if by_hand else "not_undone",
                "detail": f"{cause}; {_by(settled)}",
            }
        )

    async def _cleared_up(
        self,
        call_id: str,
        call: ToolCall,
        tool: ToolSpec,
        error: ActivityError,
        is_moot: Callable[[], bool],
        asking: str,
    ) -> str | None:
        """Return the result of a call that turns out to have happened, None of one that did not.

        `asking` is the id of the request to a person, should it come to that.
        """
        failed = failed_call(error, tool, call_id)
        if tool.verify is not None:
            try:
                found = await self._verified(call_id, call, tool, tool.verify)
            except (ActivityError, ToolFailed, NoWorker) as broken:
                if is_cancelled_exception(broken):
                    raise asyncio.CancelledError from broken
                failed = f"{failed}; {tool.verify.tool} could not tell: {cause_of(broken)}"
            else:
                if found in NOT_HAPPENED:
                    return None
                self._done(call_id, call, tool, found)
                return found
        audience = tool.approval.audience if tool.approval else DEFAULT_AUDIENCE
        question = f"did this call happen? {call_summary(call)}: {failed}"
        settled, answer = await self._asked(
            asking, call, question, HAPPENED, audience, is_moot=is_moot
        )
        if answer == "it did not happen":
            return None
        if answer == "it happened":
            self._done(call_id, call, tool, None)
            return to_json({"happened": True, "said_by": _by(settled)})
        raise ToolFailed(f"{failed}; asked, {_by(settled)}")

    async def _verified(
        self, call_id: str, call: ToolCall, tool: ToolSpec, companion: CompanionTool
    ) -> str:
        spec = _spec_of(companion, self._route(tool))
        asked = ToolCall(tool=spec.name, arguments=_given(companion, call.arguments))
        return _json_of(await self._activity(f"{call_id}{VERIFY_SUFFIX}", asked, spec), spec)

    async def _asked(
        self,
        request_id: str,
        call: ToolCall,
        question: str,
        answer: Schema,
        audience: str,
        *,
        is_moot: Callable[[], bool] = lambda: False,
    ) -> tuple[SettledRequest | None, JsonValue]:
        """Ask a person of the audience a question about a call."""
        spec = ToolSpec(
            name=call.tool,
            parameters={},
            kind="question",
            approval=BY_HAND.model_copy(update={"audience": audience}),
            answer_schema=answer,
        )
        settled = await self._requests.answer(
            request_id, call, spec, is_moot=is_moot, question=question
        )
        self._requests.show_acting(self._state.turn)
        return settled

    async def _activity(self, call_id: str, call: ToolCall, tool: ToolSpec) -> RawValue:
        """Run a tool's activity on a worker that knows it; raises its `ActivityError`, or `ToolFailed`."""
        route = self._route(tool)
        step = Step(call_id, call_summary(call), self._priority)
        # What a cancelled run has under way counts: it may have happened, and has to be undone then.
        waits = tool.effect in EFFECTFUL

        async def start(leg: Leg) -> RawValue:
            options = tool_options(tool, step, leg, route)
            if waits:
                options["cancellation_type"] = WAIT_CANCELLATION_COMPLETED
            result: RawValue = await workflow.execute_activity(
                tool.name, call.arguments, result_type=RawValue, **options
            )
            return result

        for _ in range(UNREGISTERED_TRIES):
            try:
                # A call that a worker has begun is not begun elsewhere: that is for its own retries.
                what = f"{tool.name} (call {call_id})"
                result = await Legs(self._state).serve(
                    route, what=what, start=start, waited_s=_waited_s, moves_on=was_not_started
                )
            except ActivityError as error:
                if not was_not_registered(error):
                    raise
            else:
                return result
            doing = f"{call_summary(call)} waits for a worker that serves it"
            self._requests.show_acting(self._state.turn, doing)
            await workflow.sleep(UNREGISTERED_WAIT, summary=f"{tool.name} is not served")
        raise ToolFailed(
            f"{tool.name} (call {call_id}): no worker serves it: start one with its agent"
        )

    def _route(self, tool: ToolSpec) -> Route:
        return tool.route or self._state.agent.route


def _waited_s(result: RawValue) -> float:
    """Return how long a call waited for its worker, where that says so."""
    try:
        return float(result.payload.metadata.get(WAITED_HEADER, b"0"))
    except ValueError:
        return 0


def _spec_of(companion: CompanionTool, route: Route) -> ToolSpec:
    return ToolSpec(
        name=companion.tool,
        parameters={},
        effect=companion.effect,
        timeout_s=companion.timeout_s,
        heartbeats=True,
        route=route,
    )


def _given(companion: CompanionTool, arguments: dict[str, JsonValue]) -> dict[str, JsonValue]:
    return {name: arguments[name] for name in companion.takes if name in arguments}


def _by(settled: SettledRequest | None) -> str:
    if settled is None:
        return "the run was ending"
    if settled.outcome == "expired":
        return f"nobody of {settled.audience} answered"
    why = f": {settled.comment}" if settled.comment else ""
    return f"{settled.by or settled.audience} {settled.outcome}{why}"


def _told(error: ActivityError, tool: ToolSpec, call_id: str) -> str:
    """Return what the model is told of a failed call, or raise what ends the run."""
    told = told_to_model(error, tool)
    if told is None:
        raise ToolFailed(failed_call(error, tool, call_id)) from None
    return to_json({"error": told})


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

"""The handlers through which people steer a run: each an update, and a signal of the same name.

An update is validated and answers at once. A signal cannot answer: what an update would refuse is logged
and dropped. Payloads arrive raw, so that what is wrong with them is said by the door and not by a decoder.
"""

from collections.abc import Callable, Mapping
from typing import TypeVar

from outlast_activities.policies.schema_checker import SchemaChecker
from outlast_activities.policies.signatures import refusal_of_proof
from pydantic import JsonValue
from temporalio import workflow
from temporalio.common import RawValue

from outlast.contracts.base import InputModel
from outlast.contracts.human import HumanDecision, PendingRequest
from outlast.contracts.requests import CommandPayload, SayPayload
from outlast.errors import BadRequest
from outlast.json_text import to_json
from outlast.jsonschema.schemas import Schema
from outlast.validation import parse
from outlast_workflows.payloads import NOTHING, json_of
from outlast_workflows.people.steering import (
    heard_first,
    known_name,
    refusal_of_decision,
    refusal_of_message,
    settle,
)
from outlast_workflows.state import Steering

_CHECKER = SchemaChecker()

_Input = TypeVar("_Input", bound=InputModel)


class Steerable:
    """Records what people tell a run."""

    def __init__(self) -> None:
        self._steering = Steering()

    def interrupt(self) -> bool:
        """Cancel the model call in flight; return whether there was one."""
        return False

    def hears(self) -> bool:
        """Tell whether there is another turn to hear a message in."""
        return True

    def is_conversation(self) -> bool:
        """Tell whether `finish` means anything to this run."""
        return True

    def parameters_of(self, tool: str) -> Schema | None:
        """Return the schema of a tool's arguments, which those of an edit must keep."""
        del tool
        return None

    def keys_of(self, audience: str) -> Mapping[str, str]:
        """Return the public keys of an audience that decides by signature."""
        del audience
        return {}

    @workflow.update(name="decide")
    async def decide(self, payload: RawValue = NOTHING) -> str:
        """Settle a pending human request, or vote on it."""
        return self._settle(payload)

    @decide.validator
    def check_decide(self, payload: RawValue = NOTHING) -> None:
        """Refuse a decision that is malformed, late, or about nothing that is asked."""
        decision = typed(HumanDecision, payload, "decide")
        request = self._steering.pending.get(decision.request_id)
        parameters = self.parameters_of(request.tool) if request else None
        _refuse(
            refusal_of_decision(
                decision,
                self._steering,
                parameters=parameters,
                problem=_problem,
                unproved=self._unproved,
            )
        )

    def _unproved(self, decision: HumanDecision, request: PendingRequest) -> str | None:
        return refusal_of_proof(
            decision,
            request,
            run_id=workflow.info().workflow_id,
            keys=self.keys_of(request.audience),
            now=workflow.now(),
        )

    @workflow.signal(name="decide")
    async def decide_by_signal(self, payload: RawValue = NOTHING) -> None:
        """Settle a pending human request, or vote on it."""
        if _accepted(self.check_decide, payload, "decide"):
            self._settle(payload)

    def _settle(self, payload: RawValue) -> str:
        decision = typed(HumanDecision, payload, "decide")
        name = known_name(decision, self._steering)
        named = decision.model_copy(update={"by": name})
        return settle(named, self._steering, now=workflow.now())

    @workflow.update(name="say")
    async def say(self, payload: RawValue = NOTHING) -> str:
        """Add a user message for the next turn, or interrupt this one with it."""
        update = workflow.current_update_info()
        return self._take(typed(SayPayload, payload, "say"), update_id=update.id if update else "")

    @say.validator
    def check_say(self, payload: RawValue = NOTHING) -> None:
        """Refuse a message that is malformed, or one too many."""
        typed(SayPayload, payload, "say")
        _refuse(None if self.hears() else "the run is ending: nobody hears it any more")
        _refuse(refusal_of_message(self._steering))

    @workflow.signal(name="say")
    async def say_by_signal(self, payload: RawValue = NOTHING) -> None:
        """Add a user message for the next turn, or interrupt this one with it."""
        if _accepted(self.check_say, payload, "say"):
            self._take(typed(SayPayload, payload, "say"))

    def _take(self, message: SayPayload, *, update_id: str = "") -> str:
        if not heard_first(update_id, self._steering):
            return "was heard before"
        self._steering.inbox.append(message)
        if message.when == "now" and self.interrupt():
            return "interrupts the model call in flight"
        return "is heard before the next turn"

    @workflow.update(name="pause")
    async def pause(self, payload: RawValue = NOTHING) -> str:
        """Stop before the next turn."""
        self._steering.paused = typed(CommandPayload, payload, "pause")
        return "pauses before the next turn"

    @pause.validator
    def check_pause(self, payload: RawValue = NOTHING) -> None:
        """Refuse a malformed payload."""
        typed(CommandPayload, payload, "pause")

    @workflow.signal(name="pause")
    async def pause_by_signal(self, payload: RawValue = NOTHING) -> None:
        """Stop before the next turn."""
        if _accepted(self.check_pause, payload, "pause"):
            self._steering.paused = typed(CommandPayload, payload, "pause")

    @workflow.update(name="resume")
    async def resume(self, payload: RawValue = NOTHING) -> str:
        """Go on after a pause."""
        return self._resume(typed(CommandPayload, payload, "resume"))

    @resume.validator
    def check_resume(self, payload: RawValue = NOTHING) -> None:
        """Refuse a malformed payload."""
        typed(CommandPayload, payload, "resume")

    @workflow.signal(name="resume")
    async def resume_by_signal(self, payload: RawValue = NOTHING) -> None:
        """Go on after a pause."""
        if _accepted(self.check_resume, payload, "resume"):
            self._resume(typed(CommandPayload, payload, "resume"))

    def _resume(self, steer: CommandPayload) -> str:
        self._steering.paused = None
        workflow.logger.info("run.resumed", extra=steer.model_dump())
        return "goes on"

    @workflow.update(name="finish")
    async def finish(self, payload: RawValue = NOTHING) -> str:
        """End a conversation after the turn it is in."""
        return self._finish(typed(CommandPayload, payload, "finish"))

    @finish.validator
    def check_finish(self, payload: RawValue = NOTHING) -> None:
        """Refuse a malformed payload, and a run that ends by itself."""
        typed(CommandPayload, payload, "finish")
        if not self.is_conversation():
            _refuse("finish ends a conversation; this run is a task, and ends with its answer")

    @workflow.signal(name="finish")
    async def finish_by_signal(self, payload: RawValue = NOTHING) -> None:
        """End a conversation after the turn it is in."""
        if _accepted(self.check_finish, payload, "finish"):
            self._finish(typed(CommandPayload, payload, "finish"))

    def _finish(self, steer: CommandPayload) -> str:
        self._steering.finished = True
        workflow.logger.info("run.finish_requested", extra=steer.model_dump())
        return "ends after this turn"


def typed(model: type[_Input], payload: RawValue, what: str) -> _Input:
    """Read a payload as a door model, or raise `BadRequest`; a missing one counts as `{}`."""
    return parse(model, json_of(payload) or b"{}", what=f"the payload of {what}")


def _problem(value: JsonValue, schema: Schema) -> str | None:
    return _CHECKER.problem(value, schema, key=to_json(schema))


def _refuse(refusal: str | None) -> None:
    if refusal is not None:
        raise BadRequest(refusal)


def _accepted(check: Callable[[RawValue], None], payload: RawValue, name: str) -> bool:
    try:
        check(payload)
    except BadRequest as error:
        workflow.logger.warning("signal.refused", extra={"signal": name, "reason": error.message})
        return False
    return True

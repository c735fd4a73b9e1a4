"""The commands with which people steer a run: one row each gives an update and a signal of its name.

An update is validated before it is accepted, and returns a sentence. A signal cannot return anything: if
its update would be rejected, the signal is logged and dropped.

To add a command: write its payload in `outlast/contracts/requests.py`, a row here, and a method of
`outlast.client.runs.Run`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from outlast_activities.policies.schema_checker import SchemaChecker
from outlast_activities.policies.signatures import refusal_of_proof
from pydantic import JsonValue
from temporalio import workflow
from temporalio.common import RawValue

from outlast.contracts.agents import PinnedAgent
from outlast.contracts.base import InputModel
from outlast.contracts.human import HumanDecision, PendingRequest
from outlast.contracts.requests import CommandPayload, SayPayload
from outlast.errors import BadRequest
from outlast.jsonschema.schemas import Schema
from outlast.text.json_text import to_json
from outlast_workflows.outcome import failure_of
from outlast_workflows.payloads import NO_INPUT, parse_payload
from outlast_workflows.people.conversation import Replies
from outlast_workflows.people.steering_rules import (
    decision_rejection,
    message_rejection,
    record_update,
    settle,
    voter_name,
)
from outlast_workflows.run import AgentRun
from outlast_workflows.state import InboundState, Pause, ReceivedMessage

RECEIVED_BEFORE = "was received before"
"""What an update does whose id the run has processed."""

_SCHEMA_CHECKER = SchemaChecker()

_Payload = TypeVar("_Payload", bound=InputModel)
_Class = TypeVar("_Class", bound=type)


@dataclass
class CommandTarget:
    """The run that commands act on; `run` is None until it is open, because people may be early.

    `early_mode` returns the mode of the run until then, or another text if its request is wrong.
    """

    inbound: InboundState
    replies: Replies
    run: AgentRun | None = None
    early_mode: Callable[[], str] = str

    @property
    def agent(self) -> PinnedAgent | None:
        """The tools of the run and the keys of its people, or None before it is open."""
        return self.run.state.agent if self.run else None

    @property
    def is_task(self) -> bool:
        """Whether the run is a task, and not a conversation."""
        return (self.run.state.mode if self.run else self.early_mode()) == "task"


@dataclass(frozen=True)
class Command(Generic[_Payload]):
    """A row of the table.

    `validate` returns why a command is rejected, in one sentence, or None; it must change nothing. `apply`
    changes the state and returns a sentence for the sender. Neither awaits, so no handler runs meanwhile.
    """

    name: str
    payload: type[_Payload]
    description: str
    validate: Callable[[_Payload, CommandTarget], str | None]
    apply: Callable[[_Payload, CommandTarget], str]


def _validate_decision(decision: HumanDecision, target: CommandTarget) -> str | None:
    request = target.inbound.pending.get(decision.request_id)
    agent = target.agent
    tool = agent.tool(request.tool) if agent and request else None

    def proof_check(decision: HumanDecision, request: PendingRequest) -> str | None:
        return refusal_of_proof(
            decision,
            request,
            run_id=workflow.info().workflow_id,
            keys=agent.keys.get(request.audience, {}) if agent else {},
            now=workflow.now(),
        )

    return decision_rejection(
        decision,
        target.inbound,
        parameters=tool.parameters if tool else None,
        schema_check=_schema_check,
        proof_check=proof_check,
    )


def _schema_check(value: JsonValue, schema: Schema) -> str | None:
    return _SCHEMA_CHECKER.problem(value, schema, key=to_json(schema))


def _update_id() -> str:
    update = workflow.current_update_info()
    return update.id if update else ""


def _decide(decision: HumanDecision, target: CommandTarget) -> str:
    # A client that repeats an answer may meet the next question, or none, and then sends a message.
    is_new = record_update(_update_id(), target.inbound)
    if not is_new and decision.request_id in target.inbound.pending:
        return RECEIVED_BEFORE
    by = voter_name(decision, target.inbound)
    named = decision.model_copy(update={"by": by})
    return settle(named, target.inbound, now=workflow.now())


def _validate_message(message: SayPayload, target: CommandTarget) -> str | None:
    del message
    if target.replies.is_ending:
        return "the run is ending: it takes no more messages"
    if target.run is not None and not target.run.has_turn_left:
        return "the run takes its last turn, because of its limits: it takes no more messages"
    return message_rejection(target.inbound)


def _say(message: SayPayload, target: CommandTarget) -> str:
    if not record_update(_update_id(), target.inbound):
        return RECEIVED_BEFORE
    target.inbound.inbox.append(ReceivedMessage(text=message.text, by=message.by))
    if message.when == "now" and target.run is not None and target.run.interrupt():
        return "interrupts the model call in flight"
    return "is added before the next turn"


def _pause(payload: CommandPayload, target: CommandTarget) -> str:
    target.inbound.paused = Pause(by=payload.by, reason=payload.reason)
    return "pauses before the next turn"


def _resume(payload: CommandPayload, target: CommandTarget) -> str:
    target.inbound.paused = None
    workflow.logger.info("run.resumed", extra=payload.model_dump())
    return "resumes"


def _validate_finish(payload: CommandPayload, target: CommandTarget) -> str | None:
    if target.is_task:
        return "finish ends a conversation; this run is a task, and ends with its answer"
    return _validate_steering(payload, target)


def _finish(payload: CommandPayload, target: CommandTarget) -> str:
    target.inbound.is_finishing = True
    workflow.logger.info("run.finish_requested", extra=payload.model_dump())
    return "ends after this turn"


def _validate_steering(payload: CommandPayload, target: CommandTarget) -> str | None:
    del payload
    return "the run is ending: it takes no more turns" if target.replies.is_ending else None


COMMANDS: tuple[Command[Any], ...] = (
    Command(
        "decide",
        HumanDecision,
        'Decides: {"request_id": "2.1", "decision": "approve", "arguments_hash": "…", "by": "you"}.',
        _validate_decision,
        _decide,
    ),
    Command(
        "say",
        SayPayload,
        'Adds a user message before the next turn: {"text": "…", "by": "you"}.',
        _validate_message,
        _say,
    ),
    Command(
        "pause",
        CommandPayload,
        'Pauses before the next turn: {"by": "you", "reason": "…"}.',
        _validate_steering,
        _pause,
    ),
    Command("resume", CommandPayload, "Resumes after a pause.", _validate_steering, _resume),
    Command(
        "finish",
        CommandPayload,
        "Ends a conversation after this turn.",
        _validate_finish,
        _finish,
    ),
)


def takes_decisions(workflow_class: _Class) -> _Class:
    """Add the handlers of `decide` to a workflow class, as `takes_commands` adds all."""
    return _with_commands(workflow_class, COMMANDS[:1])


def takes_commands(workflow_class: _Class) -> _Class:
    """Add the handlers of all commands to a workflow class, beneath `@workflow.defn`.

    The handlers are part of the class: handlers that are set in `__init__` would process the signals of the
    first workflow task in the order of their names, and not in the order in which they arrived.
    """
    return _with_commands(workflow_class, COMMANDS)


def _with_commands(workflow_class: _Class, commands: Sequence[Command[Any]]) -> _Class:
    for command in commands:
        handlers = _handlers_of(command)
        setattr(workflow_class, command.name, handlers.by_update)
        setattr(workflow_class, f"{command.name}_by_signal", handlers.by_signal)
    return workflow_class


def _handlers_of(command: Command[Any]) -> Any:
    name = command.name

    class Handlers:
        """The handlers of one command, as methods of a workflow that has a `target`."""

        target: CommandTarget

        @workflow.update(name=name, description=command.description)
        async def by_update(self, payload: RawValue = NO_INPUT) -> str:
            try:
                return command.apply(parse_payload(command.payload, payload, name), self.target)
            except Exception as error:  # noqa: BLE001 an update that fails otherwise blocks the run
                raise failure_of(error) from None

        @by_update.validator
        def validate(self, payload: RawValue = NO_INPUT) -> None:
            _check(command, payload, self.target)

        @workflow.signal(name=name, description=command.description)
        async def by_signal(self, payload: RawValue = NO_INPUT) -> None:
            try:
                _check(command, payload, self.target)
                command.apply(parse_payload(command.payload, payload, name), self.target)
            except Exception as error:  # noqa: BLE001 a signal that fails blocks the run
                rejection = {"signal": name, "reason": failure_of(error).message}
                workflow.logger.warning("signal.rejected", extra=rejection)

    return Handlers


def _check(command: Command[Any], payload: RawValue, target: CommandTarget) -> None:
    try:
        rejection = command.validate(parse_payload(command.payload, payload, command.name), target)
    except Exception as error:  # noqa: BLE001 the sender reads a reason, and no traceback
        raise failure_of(error) from None
    if rejection is not None:
        raise BadRequest(rejection)

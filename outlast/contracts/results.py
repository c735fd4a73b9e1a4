"""Results and progress of a run."""

from typing import Any, Generic, Literal

from pydantic import ConfigDict, Field, JsonValue, PrivateAttr, TypeAdapter
from typing_extensions import TypeVar

from outlast.contracts.base import OutputModel
from outlast.contracts.human import PendingRequest, SettledRequest
from outlast.contracts.usage import Usage
from outlast.errors import RunStopped
from outlast.output_types import parsed_output

AgentStatus = Literal[
    "thinking",
    "acting",
    "waiting_for_human",
    "waiting_for_message",
    "paused",
    "completed",
    "stopped",
    "failed",
]
StopReason = Literal["turns", "tokens", "cost", "deadline", "denied", "cancelled"]


class ServedLeg(OutputModel):
    """The steps of a run that a leg served, and those that it passed on because no worker was in time.

    `waited_s` is the sum of the times that the served steps waited for a worker.
    """

    task_queue: str
    steps: int = 0
    waited_s: float = 0
    passed_on: int = 0


class CompensationOutcome(OutputModel):
    """What became of one effect of a run that did not complete; `detail` says why.

    `unknown`: nobody knows whether the call happened. `not_made`: the call was approved, but the run ended
    before it.
    """

    call_id: str
    tool: str
    outcome: Literal["undone", "undone_by_hand", "not_undone", "unknown", "not_made"]
    detail: str = ""


Answer = TypeVar("Answer", default=JsonValue)
"""The type of an answer: JSON if only the name of the agent is known."""


class AgentResult(OutputModel, Generic[Answer]):
    """The result of a run.

    `output` is the answer: a value of the agent's output type if the caller has the `Agent`, and JSON if it
    has only the name.
    """

    model_config = ConfigDict(frozen=True, validate_by_name=True, serialize_by_alias=True)

    status: Literal["completed", "stopped"]
    output_json: JsonValue = Field(default=None, alias="output")
    """The answer as JSON; None if the run stopped before it answered."""
    stop_reason: StopReason | None = None
    turns: int = 0
    tool_calls: int = 0
    usage: Usage = Usage()
    decisions: list[SettledRequest] = []
    """The outcomes of human requests in their order, the last hundred."""
    compensations: list[CompensationOutcome] = []
    """What became of the effects of a run that did not complete, the last effect first."""
    legs: list[ServedLeg] = []
    """The legs that served the steps of the run."""
    handoffs: list[str] = []
    """The agents that took over the run, in their order."""
    unread_messages: int = 0
    """Messages that the run accepted and that the model did not read, because the run ended first."""
    _value: Any = PrivateAttr(default=None)

    def model_post_init(self, context: Any) -> None:
        """Keep the answer as JSON until `typed` replaces it."""
        del context
        self._value = self.output_json

    @property
    def output(self) -> Answer:
        """The answer. Raises `RunStopped` if the run stopped before it answered."""
        if self.status != "completed":
            raise RunStopped(
                f"the run stopped before it answered ({self.stop_reason}): check the status of its result"
            )
        value: Answer = self._value
        return value

    def typed(self, output_type: TypeAdapter[Any] | None) -> "AgentResult[Any]":
        """Return the result with an output of a type. Raises `OutputMismatch` if it is not one."""
        if output_type is None or self.status != "completed":
            return self
        result = self.model_copy()
        result._value = parsed_output(output_type, self.output_json)
        return result


class FailedRun(OutputModel):
    """The detail of the failure of a run."""

    usage: Usage = Usage()


class Progress(OutputModel):
    """The result of the query `progress`: what a run does now and what it has used."""

    agent: str
    tenant: str = "default"
    status: AgentStatus
    doing: str
    turn: int
    max_turns: int
    tool_calls: int
    usage: Usage
    pending: list[PendingRequest] = []
    warnings: list[str] = []
    """Probable mistakes in the request, such as a keyword that is one slip from a known one."""

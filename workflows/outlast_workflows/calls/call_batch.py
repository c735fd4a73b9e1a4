"""The tool calls of one decision, as values that the parts of a run pass on."""

from dataclasses import dataclass, field, replace

from pydantic import JsonValue
from temporalio.api.common.v1 import Payload
from temporalio.common import RawValue

from outlast.contracts.agents import ToolSpec
from outlast.contracts.messages import ToolCall
from outlast.contracts.proofs import CallProof
from outlast.temporal.call_headers import INPUT_METADATA
from outlast.text.json_text import to_json


@dataclass
class CallBatch:
    """The calls of one decision, which run at the same time.

    `is_broken` becomes true when one call fails in a way that ends the run. Then nobody needs the
    decisions of people about the other calls, and their requests end without an outcome.
    """

    agent_calls: int = 0
    """Agents that the calls run: they share what is left of the run's budget."""
    is_broken: bool = False
    is_local: bool = False
    """Whether all calls are of local tools. If not, no call is local: the others would wait for it."""
    started: set[str] = field(default_factory=set)
    """Ids of the calls that a worker has begun, or may have begun."""


@dataclass(frozen=True)
class PlannedCall:
    """One tool call: its id, the tool, and the name and arguments that the model chose."""

    id: str
    tool: ToolSpec
    call: ToolCall
    batch: CallBatch
    input: str = ""
    """The answers of people to the questions of an MCP server about the call, as JSON."""
    proof: CallProof | None = None
    """The nonce and the signed votes of its approval, if its audience decides by signature."""
    place: str = ""
    """Its place in the run, if that is not its id. It ends its idempotency key."""
    key: str = ""
    """The idempotency key of the call that a companion's call belongs to."""

    @property
    def arguments(self) -> dict[str, JsonValue]:
        """The arguments of the call."""
        return self.call.arguments

    @property
    def activity_input(self) -> dict[str, JsonValue] | RawValue:
        """The input of the call's activity: the arguments, with the answers of people if there are some."""
        if not self.input:
            return self.arguments
        metadata = {"encoding": b"json/plain", INPUT_METADATA: self.input.encode()}
        return RawValue(Payload(metadata=metadata, data=to_json(self.arguments).encode()))

    def with_arguments(self, arguments: dict[str, JsonValue]) -> "PlannedCall":
        """Return the same call with other arguments."""
        return replace(self, call=self.call.model_copy(update={"arguments": arguments}))

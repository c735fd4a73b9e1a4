"""What people read: results and progress of a run."""

from decimal import Decimal
from typing import Literal

from pydantic import JsonValue

from outlast.contracts.base import OutputModel
from outlast.contracts.human import PendingRequest, SettledRequest

AgentStatus = Literal[
    "thinking", "acting", "waiting_for_human", "paused", "completed", "stopped", "failed"
]
StopReason = Literal["turns", "tokens", "cost", "deadline", "denied", "cancelled"]


class Usage(OutputModel):
    """What the model calls of a run used: re-asks, answers that were cut and failed attempts included.

    `cached_prompt_tokens` are those of `prompt_tokens` that the engine had in its prefix cache, where it
    tells.
    """

    prompt_tokens: int = 0
    cached_prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: Decimal = Decimal(0)

    def __add__(self, other: "Usage") -> "Usage":
        """Sum two usages field by field."""
        return Usage(
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            cached_prompt_tokens=self.cached_prompt_tokens + other.cached_prompt_tokens,
            completion_tokens=self.completion_tokens + other.completion_tokens,
            cost_usd=self.cost_usd + other.cost_usd,
        )

    @property
    def tokens(self) -> int:
        """Prompt and completion tokens together: what `max_tokens` bounds."""
        return self.prompt_tokens + self.completion_tokens


class ServedLeg(OutputModel):
    """What a leg did for a run: the steps that it served, and those that no worker there took in time.

    `waited_s` is how long the steps that it served waited for their workers, all together.
    """

    task_queue: str
    steps: int = 0
    waited_s: float = 0
    passed_on: int = 0


class CompensationOutcome(OutputModel):
    """The compensation of one effect after its run did not complete; `detail` says why it failed."""

    call_id: str
    tool: str
    outcome: Literal["undone", "undone_by_hand", "not_undone"]
    detail: str = ""


class AgentResult(OutputModel):
    """The result of `AgentWorkflow`."""

    status: Literal["completed", "stopped"]
    output: JsonValue = None
    stop_reason: StopReason | None = None
    turns: int = 0
    tool_calls: int = 0
    usage: Usage = Usage()
    decisions: list[SettledRequest] = []
    """What people decided, in its order; the last hundred."""
    compensations: list[CompensationOutcome] = []
    """What became of the effects of a run that did not complete, the last effect first."""
    legs: list[ServedLeg] = []
    """Where the run's steps were served."""


class Progress(OutputModel):
    """The answer of the query `progress`: what a run does now and what it has used."""

    agent: str
    status: AgentStatus
    doing: str
    turn: int
    max_turns: int
    tool_calls: int
    usage: Usage
    pending: list[PendingRequest] = []

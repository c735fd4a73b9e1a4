"""The result of `PipelineWorkflow`, and what a running pipeline shows."""

from typing import Literal

from pydantic import JsonValue

from outlast.contracts.base import OutputModel
from outlast.contracts.human import PendingRequest, SettledRequest
from outlast.contracts.results import CompensationOutcome, ServedLeg, StopReason
from outlast.contracts.usage import Usage


class PipelineResult(OutputModel):
    """The result of a pipeline.

    `status` is `stopped` if the run was cancelled, or if people denied a call with `on_denial="stop"`. A
    pipeline that ends with an error fails its run with `PipelineFailed`.
    """

    status: Literal["completed", "stopped"]
    output: JsonValue = None
    stop_reason: StopReason | None = None
    tasks: int = 0
    """Tasks that ran, over all loops and retries."""
    agent_runs: int = 0
    tool_calls: int = 0
    usage: Usage = Usage()
    """What the agents used, with those whose branch of a `fork` lost."""
    decisions: list[SettledRequest] = []
    compensations: list[CompensationOutcome] = []
    legs: list[ServedLeg] = []


class TaskProgress(OutputModel):
    """A task that runs now: its place in the document, and its name."""

    place: str
    name: str


class PipelineProgress(OutputModel):
    """The result of the query `progress` of a pipeline."""

    pipeline: str
    status: str
    tasks: int
    """Tasks that have started."""
    tool_calls: int = 0
    running: list[TaskProgress] = []
    usage: Usage = Usage()
    pending: list[PendingRequest] = []

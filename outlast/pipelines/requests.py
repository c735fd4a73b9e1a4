"""The input and the result of `PipelineWorkflow`, and what a running pipeline shows."""

from typing import Annotated, Literal

from pydantic import Field, JsonValue

from outlast.contracts.base import InputModel, OutputModel
from outlast.contracts.bounds import JsonBounds
from outlast.contracts.human import PendingRequest, SettledRequest
from outlast.contracts.requests import Tenant
from outlast.contracts.results import CompensationOutcome, ServedLeg, StopReason, Usage
from outlast.errors import BadRequest
from outlast.pipelines.bounds import MAX_DOCUMENT_BYTES, MAX_VALUE_BYTES
from outlast.pipelines.documents import check_document
from outlast.pipelines.tasks import Pipeline
from outlast.text.json_text import MAX_JSON_DEPTH
from outlast.validation import parse

MAX_REQUEST_BYTES = 1_500_000
"""The input of a pipeline as JSON, with its document: the server's limit is 2 MB."""

MAX_EVENT_BYTES = 100_000
"""An event for a `listen`, as JSON. The run keeps it until a task consumes it."""


class PipelineRequest(InputModel):
    """The input of `PipelineWorkflow`: a document, and the input of its first task."""

    pipeline: Annotated[dict[str, JsonValue], JsonBounds(MAX_DOCUMENT_BYTES, MAX_JSON_DEPTH)]
    input: Annotated[JsonValue, JsonBounds(MAX_VALUE_BYTES, MAX_JSON_DEPTH)] = None
    tenant: Tenant = "default"


class PipelineEvent(InputModel):
    """The payload of the signal `event`: a CloudEvent. `type` and `source` select the `listen`."""

    model_config = {"extra": "allow", "frozen": True}

    type: str = Field(min_length=1, max_length=200)
    source: str = Field(default="", max_length=2_000)
    id: str = Field(default="", max_length=200)
    data: Annotated[JsonValue, JsonBounds(MAX_EVENT_BYTES, MAX_JSON_DEPTH)] = None


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
    running: list[TaskProgress] = []
    usage: Usage = Usage()
    pending: list[PendingRequest] = []


def parse_pipeline_request(data: bytes) -> tuple[PipelineRequest, Pipeline]:
    """Parse the input of `PipelineWorkflow`, and check its document. Raises `BadRequest`."""
    if len(data) > MAX_REQUEST_BYTES:
        raise BadRequest(
            f"input: {len(data):,} bytes are too many; at most {MAX_REQUEST_BYTES:,} are allowed"
        )
    request: PipelineRequest = parse(PipelineRequest, data, what="the input of PipelineWorkflow")
    return request, check_document(request.pipeline)

"""The input of `PipelineWorkflow`, and its events."""

from typing import Annotated, Any

from pydantic import Field, JsonValue, model_validator

from outlast.contracts.base import InputModel
from outlast.contracts.bounds import JsonBounds
from outlast.contracts.requests import Tenant
from outlast.errors import BadRequest
from outlast.pipelines.bounds import MAX_DOCUMENT_BYTES, MAX_VALUE_BYTES
from outlast.pipelines.documents import check_document
from outlast.pipelines.fields import quoted
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

    @model_validator(mode="before")
    @classmethod
    def _is_a_request(cls, value: Any) -> Any:
        """Reject what is something else as a whole, with what to send instead."""
        fields = value if isinstance(value, dict) else {}
        pipeline = fields.get("pipeline")
        if "pipeline" in fields and not isinstance(pipeline, dict):
            raise ValueError(
                f"pipeline: {quoted(pipeline)} is not a document; give the document itself as a JSON"
                " object (`outlast pipeline run FILE` reads it from a file, also in YAML)"
            )
        if "pipeline" not in fields and "do" in fields:
            raise ValueError(
                'input: this is a document itself; give {"pipeline": DOCUMENT, "input": INPUT}'
            )
        if "pipeline" not in fields and ("agent" in fields or "spec" in fields):
            raise ValueError(
                "input: this is a request for an agent; start it with the type AgentWorkflow"
            )
        return value


class PipelineEvent(InputModel):
    """The payload of the signal `event`: a CloudEvent. `type` and `source` select the `listen`."""

    model_config = {"extra": "allow", "frozen": True}

    type: str = Field(min_length=1, max_length=200)
    source: str = Field(default="", max_length=2_000)
    id: str = Field(default="", max_length=200)
    data: Annotated[JsonValue, JsonBounds(MAX_EVENT_BYTES, MAX_JSON_DEPTH)] = None


def parse_pipeline_request(data: bytes) -> tuple[PipelineRequest, Pipeline]:
    """Parse the input of `PipelineWorkflow`, and check its document. Raises `BadRequest`."""
    if len(data) > MAX_REQUEST_BYTES:
        raise BadRequest(
            f"input: {len(data):,} bytes are too many; at most {MAX_REQUEST_BYTES:,} are allowed"
        )
    request: PipelineRequest = parse(PipelineRequest, data, what="the input of PipelineWorkflow")
    return request, check_document(request.pipeline)

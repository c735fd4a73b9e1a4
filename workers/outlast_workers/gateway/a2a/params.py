"""The parameters of A2A's methods. Unknown fields are ignored, as the protocol wants it."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue
from pydantic.alias_generators import to_camel

from outlast.contracts.human import HumanDecision, PendingRequest
from outlast.text.json_text import from_json, to_json
from outlast.validation import validated
from outlast_workers.gateway.a2a.errors import A2aError, invalid_params

MAX_A2A_ID = 1_000
"""Characters of the id of a message, a task or a context."""

MAX_PAGE = 100
"""Tasks in one page of a list: the protocol's own limit."""

MAX_PARTS = 100
"""Parts of one message."""

Id = Annotated[str, Field(max_length=MAX_A2A_ID)]


class Params(BaseModel):
    """A message of the protocol. Its JSON names are in camel case; readers must take the others, too."""

    model_config = ConfigDict(
        alias_generator=to_camel, validate_by_name=True, extra="ignore", strict=True
    )


class Part(Params):
    """A part of a message: `text` and `data` are supported."""

    text: str | None = None
    data: JsonValue = None
    raw: str | None = None
    url: str | None = None


class A2aMessage(Params):
    """A message of the client. `data` with `request_id` is a decision about a request."""

    message_id: Annotated[Id, Field(min_length=1)]
    role: Literal["ROLE_USER"]
    parts: Annotated[list[Part], Field(min_length=1, max_length=MAX_PARTS)]
    task_id: Id = ""
    context_id: Id = ""

    @property
    def text(self) -> str:
        """The parts as text: data is JSON. Raises `A2aError` for files and for an empty message."""
        if any(part.raw is not None or part.url is not None for part in self.parts):
            raise A2aError(
                -32005,
                "CONTENT_TYPE_NOT_SUPPORTED",
                "message.parts: files are not supported; send text or data",
            )
        texts = [to_json(part.data) if part.text is None else part.text for part in self.parts]
        text = "\n".join(text for text in texts if text != "null")
        if not text:
            raise invalid_params("message.parts: have no text")
        return text

    def decisions(self, pending: list[PendingRequest]) -> list[HumanDecision]:
        """Return the decisions in the parts. A text alone answers the question that a run waits for.

        Raises `A2aError` if a text meets approvals: only data decides them, because a model could
        write a text.
        """
        data = [part.data for part in self.parts if isinstance(part.data, dict)]
        found = [validated(HumanDecision, each) for each in data if "request_id" in each]
        if found:
            return found
        if len(pending) == 1 and pending[0].kind == "question":
            return [_answer(pending[0], self.text)]
        identifiers = ", ".join(repr(each.request_id) for each in pending)
        raise invalid_params(
            f"message.parts: the task waits for {identifiers}: send a part with data such as"
            ' {"request_id": …, "decision": "approve"}'
        )


def _answer(request: PendingRequest, text: str) -> HumanDecision:
    schema = request.answer_schema
    value: JsonValue = text
    if not isinstance(schema, dict) or schema.get("type") != "string":
        try:
            value = from_json(text)
        except ValueError:
            value = text
    fields = {"request_id": request.request_id, "decision": "answer", "answer": value}
    return validated(HumanDecision, fields)


class Configuration(Params):
    """What a client wants of a call."""

    return_immediately: bool = False
    history_length: Annotated[int, Field(ge=0)] | None = None
    task_push_notification_config: dict[str, Any] | None = None


class SendParams(Params):
    """The parameters of `SendMessage` and `SendStreamingMessage`."""

    message: A2aMessage
    configuration: Configuration = Configuration()


class TaskParams(Params):
    """The parameters of `GetTask`, `CancelTask` and `SubscribeToTask`."""

    id: Annotated[Id, Field(min_length=1)]
    history_length: Annotated[int, Field(ge=0)] | None = None


class ListParams(Params):
    """The parameters of `ListTasks`."""

    context_id: Id = ""
    status: str = ""
    page_size: Annotated[int, Field(ge=1, le=MAX_PAGE)] = 50
    page_token: Annotated[str, Field(pattern="^[0-9]{0,4}$")] = ""
    history_length: Annotated[int, Field(ge=0)] | None = None
    include_artifacts: bool = False

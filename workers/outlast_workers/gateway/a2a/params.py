"""The parameters of A2A's methods. Unknown fields are ignored, as the protocol wants it."""

from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, JsonValue
from pydantic.alias_generators import to_camel

from outlast.contracts.a2a_states import State
from outlast.contracts.human import HumanDecision, PendingRequest
from outlast.media.media import Media
from outlast.text.json_text import from_json, to_json
from outlast.validation import validated
from outlast_workers.gateway.a2a.errors import invalid_params
from outlast_workers.gateway.message_media import file_of, image_of, is_blank

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
    """A part of a message: `text`, `data`, or a file as base64 (`raw`) or a `url`."""

    text: str | None = None
    data: JsonValue = None
    raw: str | None = None
    url: str | None = None
    filename: str = ""
    media_type: str = ""

    def content(self, place: str) -> str | Media:
        """Return the text, the image or the file. Data is text as JSON. Raises `BadRequest`."""
        source = self.url if self.raw is None else self.raw
        if source is None:
            return to_json(self.data) if self.text is None else self.text
        if self.media_type.startswith("image/"):
            return image_of(source, place)
        return file_of(source, place, name=self.filename, media_type=self.media_type or None)


class A2aMessage(Params):
    """A message of the client. `data` with `request_id` is a decision about a request."""

    message_id: Annotated[Id, Field(min_length=1)]
    role: Literal["ROLE_USER"]
    parts: Annotated[list[Part], Field(fail_fast=True, min_length=1, max_length=MAX_PARTS)]
    task_id: Id = ""
    context_id: Id = ""

    def contents(self) -> list[str | Media]:
        """Return the texts, images and files. Raises `BadRequest`."""
        found = [part.content(f"message.parts.{place}") for place, part in enumerate(self.parts)]
        if is_blank(found) or found == ["null"]:
            raise invalid_params("message.parts: have no text")
        return found

    def decisions(self) -> list[HumanDecision]:
        """Return the decisions in the parts with data."""
        data = [part.data for part in self.parts if isinstance(part.data, dict)]
        return [validated(HumanDecision, each) for each in data if "request_id" in each]

    def answer(self, pending: list[PendingRequest]) -> HumanDecision:
        """Return the answer to the question that a run waits for, from a text.

        Raises `A2aError` if a text meets approvals: only data decides them, because a model could
        write a text.
        """
        if len(pending) == 1 and pending[0].kind == "question":
            return _answer(pending[0], "\n".join(part.text or "" for part in self.parts))
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
    status: State | Literal["TASK_STATE_UNSPECIFIED", ""] = ""
    page_size: Annotated[int, Field(ge=1, le=MAX_PAGE)] = 50
    page_token: Annotated[str, Field(pattern="^[0-9]{0,4}$")] = ""
    history_length: Annotated[int, Field(ge=0)] | None = None
    status_timestamp_after: Annotated[AwareDatetime, Field(strict=False)] | None = None
    include_artifacts: bool = False

"""The body of `POST /v1/chat/completions`, and the header that names its conversation.

A client sends the whole history each time, and no id. The run keeps the history, so a request with more
than one message names its conversation in a header, and only its last message is read.
"""

import mimetypes
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from outlast.errors import BadRequest
from outlast.media.media import Media
from outlast.validation import validated
from outlast_workers.gateway.message_media import file_of, image_of, is_blank
from outlast_workers.gateway.response_input import reject_fields

CONVERSATION_HEADERS = ("x-conversation-id", "x-openwebui-chat-id")
"""Headers that name a conversation. The second is the one of Open WebUI
(`ENABLE_FORWARD_USER_INFO_HEADERS`)."""

AGENTS_OWN = {
    "tools": "an agent has its own tools",
    "functions": "an agent has its own tools",
    "tool_choice": "an agent chooses its tools",
    "function_call": "an agent chooses its tools",
    "web_search_options": "an agent has its own tools",
    "response_format": "an agent has its own type of answer",
    "modalities": "an answer is text",
    "audio": "an answer is text",
}
"""Fields that would change the agent or its answer, and why they are rejected."""

_OF_TEXT = {"response_format": {"type": "text"}, "modalities": ["text"]}
"""Values of those fields that ask for text, as each answer is."""


class StreamOptions(BaseModel):
    """The options of a stream that have a meaning here."""

    model_config = ConfigDict(extra="ignore", strict=True)

    include_usage: bool | None = None


class CompletionBody(BaseModel):
    """The fields of a request that have a meaning here."""

    model_config = ConfigDict(extra="ignore", strict=True)

    model: str
    messages: Annotated[list[dict[str, Any]], Field(fail_fast=True, min_length=1)]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: int | None = Field(default=None, ge=1, le=1)

    @property
    def includes_usage(self) -> bool:
        """Whether the last chunk of the stream has the usage."""
        return self.stream_options is not None and bool(self.stream_options.include_usage)


def read_completion(body: dict[str, Any]) -> CompletionBody:
    """Return the checked body. Raises `BadRequest` for fields that would change the agent."""
    wanted = {name: value for name, value in body.items() if value != _OF_TEXT.get(name)}
    reject_fields(wanted, AGENTS_OWN)
    return validated(CompletionBody, body)


def conversation_of(headers: Mapping[str, str]) -> str | None:
    """Return the conversation that a request names, or None."""
    return next((headers[name] for name in CONVERSATION_HEADERS if headers.get(name)), None)


def last_parts(body: CompletionBody, conversation: str | None) -> list[str | Media]:
    """Return the texts, images and files of the last message.

    Raises `BadRequest` for other messages and parts, and for a history without a conversation.
    """
    if conversation is None:
        _check_role(body, 0)
        if len(body.messages) > 1:
            raise BadRequest(
                "messages: the run keeps the history: name the conversation with the header"
                f" {CONVERSATION_HEADERS[0]}, or send one message"
            )
    place = len(body.messages) - 1
    _check_role(body, place)
    content = body.messages[place].get("content")
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    if not isinstance(parts, list):
        raise BadRequest(f"messages.{place}.content: must be a text, or a list of parts")
    read = [_part(part, f"messages.{place}.content.{number}") for number, part in enumerate(parts)]
    if is_blank(read):
        raise BadRequest(f"messages.{place}.content: has no text")
    return read


def _check_role(body: CompletionBody, place: int) -> None:
    role = body.messages[place].get("role")
    if role != "user":
        raise BadRequest(
            f"messages.{place}.role: {str(role)[:40]!r} must be 'user'; an agent has its own instructions,"
            " and the run keeps the history"
        )


def _part(part: object, place: str) -> str | Media:
    fields: dict[str, Any] = part if isinstance(part, dict) else {}
    kind = str(fields.get("type"))
    content = fields.get(kind)
    if kind == "text" and isinstance(content, str):
        return content
    if kind == "image_url" and isinstance(content, dict):
        return image_of(content.get("url"), f"{place}.image_url.url")
    if kind == "file" and isinstance(content, dict):
        name = str(content.get("filename") or "")
        media_type, _ = mimetypes.guess_type(name)
        where = f"{place}.file.file_data"
        return file_of(content.get("file_data"), where, name=name, media_type=media_type)
    raise BadRequest(f"{place}: {kind[:40]!r} is not supported; send text, image_url or file")

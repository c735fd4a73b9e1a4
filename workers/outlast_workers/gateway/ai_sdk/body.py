"""The body of `POST /ai/AGENT`: the last message of a client, or its decisions about requests.

A client sends all messages each time. The run keeps them, so the others are not read.
"""

import json
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from outlast.contracts.human import HumanDecision, PendingRequest
from outlast.contracts.messages import Message
from outlast.errors import BadRequest
from outlast.media.media import Media
from outlast.validation import validated
from outlast_workers.gateway.message_media import file_of, image_of, is_blank
from outlast_workers.gateway.run_events import EventReader

MAX_CHAT_ID = 1_000
"""Characters of the id of a chat."""


class UIMessage(BaseModel):
    """A message of the client."""

    model_config = ConfigDict(extra="ignore")

    id: Annotated[str, Field(max_length=MAX_CHAT_ID)] = ""
    role: Literal["system", "user", "assistant"]
    parts: Annotated[list[dict[str, Any]], Field(fail_fast=True)]


class Change(BaseModel):
    """What a page adds to an approval. A call must not lose its edits to an unknown field."""

    model_config = ConfigDict(extra="forbid")

    arguments: dict[str, Any] | None = None
    signature: str | None = None


class ChatBody(BaseModel):
    """The fields that a chat of the AI SDK sends.

    `decisions` is no field of the SDK: what a page adds to approvals, by the id of the approval.
    A page gives it in the `body` of the options of `addToolApprovalResponse`.
    """

    model_config = ConfigDict(extra="ignore")

    id: Annotated[str, Field(min_length=1, max_length=MAX_CHAT_ID)]
    messages: Annotated[list[dict[str, Any]], Field(fail_fast=True, min_length=1)]
    trigger: str = "submit-message"
    messageId: str | None = None  # noqa: N815 the protocol's name
    decisions: dict[str, Change] = {}


def new_message(body: ChatBody) -> UIMessage:
    """Return the message with which the client wants to continue. Raises `BadRequest`."""
    if body.trigger != "submit-message":
        raise BadRequest("trigger: an answer cannot be generated again; send a new message")
    named = [each for each in body.messages if each.get("id") == body.messageId]
    last = validated(UIMessage, body.messages[-1])
    if body.messageId is None or not named:
        return last
    message = validated(UIMessage, named[-1])
    if message.role == "user":
        raise BadRequest("messageId: a message cannot be changed later; send a new one")
    return message


def message_id_of(body: ChatBody) -> str:
    """Return the id of the last message. Without one, it is the whole history, as clients send it."""
    return str(body.messages[-1].get("id") or "") or json.dumps(body.messages)


def parts_of(message: UIMessage) -> list[str | Media]:
    """Return the texts, images and files of a message of a person. Raises `BadRequest` for others."""
    if message.role != "user":
        raise BadRequest(f"messages: the last one has the role {message.role!r}, not 'user'")
    parts = [
        _part(part, f"messages: parts.{place} of the last one")
        for place, part in enumerate(message.parts)
        if part.get("type") != "step-start"
    ]
    if is_blank(parts):
        raise BadRequest("messages: the last one has no text")
    return parts


def _part(part: dict[str, Any], place: str) -> str | Media:
    kind, text = part.get("type"), part.get("text")
    if kind == "text" and isinstance(text, str):
        return text
    if kind != "file":
        raise BadRequest(
            f"{place}: the type {str(kind)[:40]!r} is not supported; send 'text' or 'file'"
        )
    media_type = str(part.get("mediaType") or "")
    if media_type.startswith("image/"):
        return image_of(part.get("url"), f"{place}.url")
    name = str(part.get("filename") or "")
    return file_of(part.get("url"), f"{place}.url", name=name, media_type=media_type or None)


def decisions_of(
    message: UIMessage,
    body: ChatBody,
    entries: Sequence[Message],
    pending: Sequence[PendingRequest],
) -> list[HumanDecision]:
    """Return the approvals and answers in a message of the assistant, which a person has added.

    Raises `BadRequest` if there are none.
    """
    reader = EventReader()
    for entry in entries:
        list(reader.read(entry))
    questions = {reader.call(each.request_id): each for each in pending if each.kind == "question"}
    found = [
        decision
        for part in message.parts
        if (decision := _decision(part, body, questions)) is not None
    ]
    if not found:
        raise BadRequest("messages: the last one has no new message, approval or answer")
    return found


def _decision(
    part: dict[str, Any], body: ChatBody, questions: dict[str, PendingRequest]
) -> HumanDecision | None:
    approval, state = part.get("approval"), part.get("state")
    if state == "approval-responded" and isinstance(approval, dict):
        return _approval(approval, body)
    question = questions.get(str(part.get("toolCallId")))
    if question is None:
        return None
    fields = {"request_id": question.request_id, "arguments_hash": question.arguments_hash}
    if state == "output-available":
        answer = {"decision": "answer", "answer": part.get("output")}
        return validated(HumanDecision, {**fields, **answer})
    if state == "output-error":
        comment = str(part.get("errorText") or "")
        return validated(HumanDecision, {**fields, "decision": "deny", "comment": comment})
    return None


def _approval(approval: dict[str, Any], body: ChatBody) -> HumanDecision:
    identifier, approved = approval.get("id"), approval.get("approved")
    if not isinstance(identifier, str) or "_" not in identifier:
        raise BadRequest("messages: approval.id is not the id of an approval request")
    if not isinstance(approved, bool):
        raise BadRequest(f"messages: approval {identifier[:40]!r} needs approved: true or false")
    request_id, _, seen = identifier.rpartition("_")
    more = body.decisions.get(identifier, Change())
    fields: dict[str, Any] = {
        "request_id": request_id,
        "decision": "approve" if approved else "deny",
        "comment": approval.get("reason") or "",
    }
    if seen:
        fields["arguments_hash"] = seen
    if approved and more.arguments is not None:
        fields |= {"decision": "edit", "arguments": more.arguments}
    if more.signature is not None:
        fields["signature"] = more.signature
    return validated(HumanDecision, fields)

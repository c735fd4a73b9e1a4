"""AG-UI's forms of a conversation: its messages, the calls of tools, and requests as interrupts."""

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from ag_ui.core import (
    AssistantMessage,
    BaseEvent,
    DocumentInputContent,
    FunctionCall,
    ImageInputContent,
    InputContentDataSource,
    InputContentUrlSource,
    Interrupt,
    ResumeEntry,
    RunAgentInput,
    TextInputContent,
    TextMessageContentEvent,
    TextMessageEndEvent,
    TextMessageStartEvent,
    ToolCall,
    ToolCallArgsEvent,
    ToolCallEndEvent,
    ToolCallResultEvent,
    ToolCallStartEvent,
    ToolMessage,
    UserMessage,
)
from ag_ui.core import Message as AguiMessage
from pydantic import JsonValue

from outlast.client.waiting import request_summary
from outlast.contracts.human import HumanDecision, PendingRequest
from outlast.contracts.media import with_labels
from outlast.contracts.messages import Message
from outlast.errors import BadRequest
from outlast.media.media import Media
from outlast.text.json_text import to_json
from outlast.validation import validated
from outlast_workers.gateway.message_media import file_of, image_of, is_blank
from outlast_workers.gateway.run_events import EventReader, RunEvent

_OF_SNAPSHOT = re.compile("m[0-9]{1,9}")
"""An id that `snapshot` gives."""


def may_be_known(body: RunAgentInput) -> bool:
    """Return whether the last message has an id such as those of snapshots."""
    return bool(body.messages and _OF_SNAPSHOT.fullmatch(body.messages[-1].id))


def is_known(body: RunAgentInput, entries: Sequence[Message]) -> bool:
    """Return whether the last message is one of a snapshot: the client has lost the stream.

    Some clients give their own messages such ids. So a message of a person also has the text of its entry.
    """
    last = body.messages[-1]
    known = ((each.id, each.content) for each in snapshot(entries) if isinstance(each, UserMessage))
    return not isinstance(last, UserMessage) or (last.id, last.content) in known


def last_user_message(body: RunAgentInput) -> UserMessage:
    """Return the new message of a person. The run keeps all earlier ones, so others are not read.

    Raises `BadRequest` if the last message is not one of a person.
    """
    last = body.messages[-1] if body.messages else None
    if not isinstance(last, UserMessage):
        raise BadRequest("messages: the last one must be a message of the role 'user'")
    return last


def parts_of(message: UserMessage) -> list[str | Media]:
    """Return the texts, images and documents of a message. Raises `BadRequest` for others, and for none."""
    content = message.content
    parts = [
        part if isinstance(part, str) else _part(part, f"messages: content.{place} of the last one")
        for place, part in enumerate([content] if isinstance(content, str) else content)
    ]
    if is_blank(parts):
        raise BadRequest("messages: the last one has no text")
    return parts


def _part(part: object, place: str) -> str | Media:
    if isinstance(part, TextInputContent):
        return part.text
    if not isinstance(part, ImageInputContent | DocumentInputContent):
        raise BadRequest(f"{place}: only text, images and documents are supported")
    source = part.source
    if not isinstance(source, InputContentDataSource | InputContentUrlSource):
        raise BadRequest(f"{place}: send its bytes or a URL")
    if isinstance(part, ImageInputContent):
        return image_of(source.value, place)
    return file_of(source.value, place, media_type=source.mime_type)


def snapshot(entries: Sequence[Message]) -> list[AguiMessage]:
    """Return the entries of a transcript as messages."""
    reader = EventReader()
    return [message for entry in entries for message in _messages(list(reader.read(entry)))]


def _messages(events: list[RunEvent]) -> Iterator[AguiMessage]:
    calls = [event for event in events if event.type == "tool_call"]
    if calls:
        identifier = f"m{calls[-1].position}"
        yield AssistantMessage(
            id=identifier, role="assistant", tool_calls=[_call(event.data) for event in calls]
        )
    for event in events:
        data: dict[str, Any] = event.data
        identifier = f"m{event.position}"
        if event.type == "message":
            yield UserMessage(id=identifier, role="user", content=with_labels(data["text"]))
        elif event.type == "answer":
            text = answer_text(data["answer"])
            yield AssistantMessage(id=identifier, role="assistant", content=text)
        elif event.type == "tool_result":
            content = to_json(data["result"])
            yield ToolMessage(
                id=identifier, role="tool", tool_call_id=data["call"], content=content
            )


def _call(data: dict[str, Any]) -> ToolCall:
    function = FunctionCall(name=data["tool"], arguments=to_json(data["arguments"]))
    return ToolCall(id=data["call"], type="function", function=function)


def answer_text(answer: JsonValue) -> str:
    """Return an answer as text: JSON, unless it is text."""
    return answer if isinstance(answer, str) else to_json(answer)


class MessageWriter:
    """Turns the events of a run into those of AG-UI. A message is open while a model writes its text."""

    def __init__(self) -> None:
        self._open: str | None = None

    def read(self, event: RunEvent) -> Iterator[BaseEvent]:
        """Yield the events of AG-UI for one event of a run."""
        data: dict[str, Any] = event.data
        identifier = f"m{event.position}"
        if event.type == "tool_call":
            yield ToolCallStartEvent(tool_call_id=data["call"], tool_call_name=data["tool"])
            yield ToolCallArgsEvent(tool_call_id=data["call"], delta=to_json(data["arguments"]))
            yield ToolCallEndEvent(tool_call_id=data["call"])
        elif event.type == "tool_result":
            content = to_json(data["result"])
            yield ToolCallResultEvent(
                message_id=identifier, tool_call_id=data["call"], content=content
            )
        elif event.type == "text":
            yield from self._add(f"m{event.position + 1}", data["text"])
        elif event.type == "text_reset":
            yield from self.end()
        elif event.type == "answer":
            if self._open is None:
                yield from self._add(identifier, answer_text(data["answer"]))
            yield from self.end()

    def end(self) -> Iterator[BaseEvent]:
        """End the open message, if there is one."""
        if self._open is not None:
            yield TextMessageEndEvent(message_id=self._open)
        self._open = None

    def _add(self, identifier: str, text: str) -> Iterator[BaseEvent]:
        if self._open is None:
            self._open = identifier
            yield TextMessageStartEvent(message_id=identifier, role="assistant")
        if text:
            yield TextMessageContentEvent(message_id=self._open, delta=text)


def interrupt(request: PendingRequest, call: str) -> Interrupt:
    """Return a pending request as an interrupt."""
    is_question = request.kind == "question"
    schema: Any = request.answer_schema if is_question else _APPROVAL
    return Interrupt(
        id=request.request_id,
        reason="input_required" if is_question else "tool_call",
        message=request.question if is_question else request_summary(request),
        tool_call_id=call,
        response_schema=schema if isinstance(schema, dict) else None,
        expires_at=request.expires_at.isoformat(),
        metadata={
            "tool": request.tool,
            "arguments": request.arguments,
            "arguments_hash": request.arguments_hash,
        },
    )


_APPROVAL: dict[str, Any] = {
    "type": "object",
    "properties": {
        "approved": {"type": "boolean"},
        "editedArgs": {"type": "object"},
        "comment": {"type": "string"},
    },
    "required": ["approved"],
    "additionalProperties": False,
}


def decision_of(entry: ResumeEntry, pending: Sequence[PendingRequest]) -> HumanDecision:
    """Return the decision in an entry of `resume`. Raises `BadRequest` if it is wrong.

    An interrupt that is not open any more is also a decision: the run accepts a repeated one, and rejects
    a stale one.
    """
    identifier, payload = entry.interrupt_id, entry.payload
    request = next((each for each in pending if each.request_id == identifier), None)
    is_approval = isinstance(payload, dict) and isinstance(payload.get("approved"), bool)
    is_question = not is_approval if request is None else request.kind == "question"
    metadata = entry.metadata or {}
    fields: dict[str, Any] = {"request_id": identifier}
    fields |= {name: metadata[name] for name in ("arguments_hash", "signature") if name in metadata}
    if entry.status == "cancelled":
        return validated(HumanDecision, {**fields, "decision": "deny"})
    if is_question:
        return validated(HumanDecision, {**fields, "decision": "answer", "answer": payload})
    if not isinstance(payload, dict) or not is_approval:
        raise BadRequest(
            f"resume: the payload of {identifier[:40]!r} needs approved: true or false"
        )
    unknown = sorted(payload.keys() - _APPROVAL["properties"].keys())
    if unknown:  # such as edited arguments under another name: the call would run without them
        raise BadRequest(
            f"resume: the payload of {identifier[:40]!r} has the unknown field {unknown[0][:40]!r};"
            f" it takes {', '.join(_APPROVAL['properties'])}"
        )
    fields["comment"] = str(payload.get("comment") or "")
    edited = payload.get("editedArgs")
    if not payload["approved"]:
        return validated(HumanDecision, {**fields, "decision": "deny"})
    if edited is None:
        return validated(HumanDecision, {**fields, "decision": "approve"})
    return validated(HumanDecision, {**fields, "decision": "edit", "arguments": edited})


def sse_text(event: BaseEvent) -> str:
    """Return an event as one event of an event stream."""
    data = event.model_dump(by_alias=True, mode="json", exclude_none=True)
    return f"data: {json.dumps(data, separators=(',', ':'))}\n\n"

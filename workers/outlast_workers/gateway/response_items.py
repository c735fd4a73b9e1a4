"""A response of OpenAI's Responses API, built from the events of a run.

| event of the run | item of the response |
| --- | --- |
| `tool_result` | `mcp_call` with arguments and output |
| `request_opened` of an approval | `mcp_approval_request`; ends the response |
| `request_opened` of a question | `function_call` of the tool that asks; ends the response |
| `answer` | `message` with the answer; ends the response |
| `text` | a piece of that message |
| `text_reset` | ends the message without content; the text begins anew in another one |
| `usage` | added to the `usage` of the response |
| `run_ended` | ends the response |
"""

import json
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from outlast.text.json_text import to_json
from outlast_workers.gateway.response_input import APPROVAL_PREFIX
from outlast_workers.gateway.run_events import RunEvent
from outlast_workers.gateway.token_usage import AnswerUsage, response_usage

SERVER_LABEL = "outlast"
"""The server that tool calls of an agent name."""

_STATUS_OF_REASON = {"cancelled": "cancelled"}


LAST_EVENTS = 4
"""Events of a response after the text of its last message."""

TEXT_STEP = 1_024
"""Sequence numbers for each character of a message: they tell apart texts of the same length."""


@dataclass
class OpenMessage:
    """A message that is written. `begin` is the sequence number of its first event.

    The number of a piece of text holds how many characters are complete, and a checksum of them. So the
    numbers do not depend on the pieces in which the text came, and a client that comes back with one has
    seen the text that belongs to it.
    """

    begin: int
    index: int
    id: str
    text: str = ""
    is_again: bool = False
    """Whether another text came before in the same stream. Its numbers match no text: a client that comes
    back with one of them gets the whole text."""

    @property
    def item(self) -> dict[str, Any]:
        """The item before it has ended."""
        return {
            "id": self.id,
            "type": "message",
            "role": "assistant",
            "status": "in_progress",
            "content": [],
        }

    @property
    def part(self) -> dict[str, Any]:
        """The part of the content."""
        return {"type": "output_text", "text": self.text, "annotations": []}

    @property
    def place(self) -> dict[str, Any]:
        """What each event of the text names."""
        return {"item_id": self.id, "output_index": self.index, "content_index": 0}

    @property
    def end(self) -> int:
        """The sequence number of the event after the whole text."""
        check = zlib.crc32(self.text.encode()) % TEXT_STEP
        end = self.begin + 2 + (len(self.text) + 2) * TEXT_STEP + check
        return end + LAST_EVENTS if self.is_again else end

    def number(self, characters: int) -> int:
        """Return the sequence number of the piece that completes so many characters."""
        check = zlib.crc32(self.text[:characters].encode()) % TEXT_STEP
        return self.begin + 2 + characters * TEXT_STEP + (check ^ self.is_again)

    def seen(self, number: int) -> int | None:
        """Return what a client has seen: None if more than has come, -1 if another text."""
        characters = (number - self.begin - 2) // TEXT_STEP
        if characters > len(self.text):
            return None
        return characters if self.number(characters) == number else -1


@dataclass
class ResponseBuilder:
    """Collects the items of one response, and writes its events with their sequence numbers.

    The numbers depend on the transcript and on the text of an answer alone. So a client that connects
    again finds the same ones.
    """

    id: str
    model: str
    background: bool = False
    previous_id: str | None = None
    metadata: dict[str, str] = field(default_factory=dict)
    created_at: float = field(default_factory=lambda: float(int(time.time())))
    status: str = "in_progress"
    items: list[dict[str, Any]] = field(default_factory=list)
    error: dict[str, str] | None = None
    incomplete: dict[str, str] | None = None
    usage: AnswerUsage = field(default_factory=AnswerUsage)
    after: int = -1
    """The number of the last event that the client has seen."""
    _sequence: int = 0
    _message: OpenMessage | None = None
    _resumed: bool = False
    _is_again: bool = False
    _arguments: dict[str, str] = field(default_factory=dict)

    @property
    def is_over(self) -> bool:
        """Whether the response has ended."""
        return self.status not in {"in_progress", "queued"}

    def response(self) -> dict[str, Any]:
        """Return the response as JSON."""
        return {
            "id": self.id,
            "object": "response",
            "created_at": self.created_at,
            "status": self.status,
            "background": self.background,
            "model": self.model,
            "output": self.items,
            "previous_response_id": self.previous_id,
            "metadata": self.metadata,
            "error": self.error,
            "incomplete_details": self.incomplete,
            "usage": response_usage(self.usage.total),
            "instructions": None,
            "parallel_tool_calls": True,
            "tool_choice": "auto",
            "tools": [],
            "temperature": None,
            "top_p": None,
            "text": {"format": {"type": "text"}},
        }

    def begin(self) -> Iterator[dict[str, Any]]:
        """Yield the first events of the stream."""
        yield self._event("response.created", response=self.response())
        yield self._event("response.in_progress", response=self.response())

    def read(self, event: RunEvent) -> Iterator[dict[str, Any]]:
        """Take one event of the run, and yield the events of the stream that it causes."""
        data: dict[str, Any] = event.data
        if event.type == "tool_call":
            self._arguments[data["call"]] = to_json(data["arguments"])
        elif event.type == "usage":
            self.usage.add(event)
        elif event.type == "tool_result":
            yield from self._add(self._call_item(data))
        elif event.type == "request_opened":
            yield from self._add(self._request_item(data))
        elif event.type == "text":
            message = self._message or self._new_message(f"msg_{event.position + 1}")
            yield from self._grow(message, data["text"])
        elif event.type == "text_reset" and self._message is not None:
            yield from self._discard(self._message)
        elif event.type == "answer":
            yield from self._add_answer(data["answer"], event.position)
            self.status = "completed"
        elif event.type == "run_ended":
            yield from self._end(data, event.position)

    def end(self) -> Iterator[dict[str, Any]]:
        """Yield the last event of the stream. A response that is still open waits for a person."""
        if not self.is_over:
            self.status = "completed"
        name = {"failed": "response.failed", "incomplete": "response.incomplete"}
        yield self._event(name.get(self.status, "response.completed"), response=self.response())

    def _end(self, data: dict[str, Any], position: int) -> Iterator[dict[str, Any]]:
        status, reason = data["status"], data.get("stop_reason")
        if status == "failed":
            self.status = "failed"
            self.error = {"code": "server_error", "message": str(data["error"])}
        elif status == "completed":
            if not any(item["type"] == "message" and item["content"] for item in self.items):
                yield from self._add_answer(data["output"], position)
            self.status = "completed"
        else:
            self.status = _STATUS_OF_REASON.get(str(reason), "incomplete")
            if self.status == "incomplete":
                self.incomplete = {"reason": "max_output_tokens"}

    def _call_item(self, data: dict[str, Any]) -> dict[str, Any]:
        return {
            "id": f"mcp_{data['call']}",
            "type": "mcp_call",
            "server_label": SERVER_LABEL,
            "name": data["tool"],
            "arguments": self._arguments.get(data["call"], "{}"),
            "output": to_json(data["result"]),
            "error": None,
            "status": "completed",
        }

    def _request_item(self, data: dict[str, Any]) -> dict[str, Any]:
        request = data["request"]
        if request["kind"] == "question":
            question = {"question": request["question"], "answer_schema": request["answer_schema"]}
            return {
                "id": f"fc_{data['call']}",
                "type": "function_call",
                "call_id": request["request_id"],
                "name": request["tool"],
                "arguments": json.dumps(question),
                "status": "completed",
            }
        return {
            # The hash of the arguments: an approval counts only for what was shown.
            "id": f"{APPROVAL_PREFIX}{request['request_id']}_{request['arguments_hash']}",
            "type": "mcp_approval_request",
            "server_label": SERVER_LABEL,
            "name": request["tool"],
            "arguments": to_json(request["arguments"]),
        }

    def _add(self, item: dict[str, Any]) -> Iterator[dict[str, Any]]:
        index = len(self.items)
        yield self._event("response.output_item.added", output_index=index, item=item)
        self.items.append(item)
        yield self._event("response.output_item.done", output_index=index, item=item)

    def _add_answer(self, answer: Any, position: int) -> Iterator[dict[str, Any]]:
        """Add what a message lacks of an answer, and end it."""
        text = answer if isinstance(answer, str) else to_json(answer)
        message = self._message or self._new_message(f"msg_{position}")
        yield from self._grow(message, text[len(message.text) :])
        message = self._message or message
        if 0 <= self.after - message.end < LAST_EVENTS:
            self._resumed = True
        elif not self._resumed and self.after > message.begin + 1:
            # The client has seen more than the whole answer, so it was another one.
            yield from self._restart(message)
            message = self._message or message
        self._message, self._sequence = None, message.end
        part = message.part
        place = message.place
        yield self._event("response.output_text.done", **place, text=text, logprobs=[])
        yield self._event("response.content_part.done", **place, part=part)
        item = {**message.item, "status": "completed", "content": [part]}
        self.items.append(item)
        yield self._event("response.output_item.done", output_index=message.index, item=item)

    def _grow(self, message: "OpenMessage", text: str) -> Iterator[dict[str, Any]]:
        """Add text to a message, from the character on that the client lacks."""
        if self._message is None:
            self._message = message
            yield from self._begin(message)
        message.text += text
        if self._resumed or self.after <= message.begin + 1:
            if text:
                yield self._delta(message, text)
            return
        seen = message.seen(self.after)
        if seen is None:
            return
        self._resumed = True
        if seen < 0:
            yield from self._restart(message)
        elif seen < len(message.text):
            yield self._delta(message, message.text[seen:])

    def _new_message(self, identifier: str) -> OpenMessage:
        index = len(self.items)
        is_again = self._is_again
        identifier = f"{identifier}_{index}" if is_again else identifier
        return OpenMessage(self._sequence, index, identifier, is_again=is_again)

    def _begin(self, message: "OpenMessage") -> Iterator[dict[str, Any]]:
        self._sequence = message.number(0) if message.is_again else message.begin
        yield self._event(
            "response.output_item.added", output_index=message.index, item=message.item
        )
        part = {**message.part, "text": ""}
        yield self._event("response.content_part.added", **message.place, part=part)

    def _delta(self, message: "OpenMessage", text: str) -> dict[str, Any]:
        self._sequence = message.number(len(message.text))
        return self._event("response.output_text.delta", **message.place, delta=text, logprobs=[])

    def _restart(self, message: "OpenMessage") -> Iterator[dict[str, Any]]:
        """Send a message again in a new item, because the client has seen another text of it."""
        text = message.text
        yield from self._discard(message)
        yield from self._grow(self._new_message(message.id), text)

    def _discard(self, message: "OpenMessage") -> Iterator[dict[str, Any]]:
        """End a message whose text is not the answer. It stays in the output, without its text."""
        self.after, self._resumed, self._is_again = -1, True, True
        item = {**message.item, "status": "incomplete"}
        self.items.append(item)
        yield self._event("response.output_item.done", output_index=message.index, item=item)
        self._message, self._sequence = None, message.begin

    def _event(self, kind: str, **fields: Any) -> dict[str, Any]:
        event = {"type": kind, "sequence_number": self._sequence, **fields}
        self._sequence += 1
        return event

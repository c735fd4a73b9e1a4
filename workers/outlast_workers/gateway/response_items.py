"""A response of OpenAI's Responses API, built from the events of a run.

| event of the run | item of the response |
| --- | --- |
| `tool_result` | `mcp_call` with arguments and output |
| `request_opened` of an approval | `mcp_approval_request`; ends the response |
| `request_opened` of a question | `function_call` of the tool that asks; ends the response |
| `answer` | `message` with the answer; ends the response |
| `run_ended` | ends the response |
"""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from outlast.text.json_text import to_json
from outlast_workers.gateway.response_input import APPROVAL_PREFIX
from outlast_workers.gateway.run_events import RunEvent

SERVER_LABEL = "outlast"
"""The server that tool calls of an agent name."""

_STATUS_OF_REASON = {"cancelled": "cancelled"}


@dataclass
class ResponseBuilder:
    """Collects the items of one response, and writes its events with their sequence numbers.

    The events depend on the transcript alone. So a client that connects again finds the same numbers.
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
    usage: dict[str, Any] | None = None
    _sequence: int = 0
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
            "usage": self.usage,
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
        elif event.type == "tool_result":
            yield from self._add(self._call_item(data))
        elif event.type == "request_opened":
            yield from self._add(self._request_item(data))
        elif event.type == "answer":
            yield from self._add_message(data["answer"], event.position)
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
            if not any(item["type"] == "message" for item in self.items):
                yield from self._add_message(data["output"], position)
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

    def _add_message(self, answer: Any, position: int) -> Iterator[dict[str, Any]]:
        text = answer if isinstance(answer, str) else to_json(answer)
        index = len(self.items)
        message: dict[str, Any] = {
            "id": f"msg_{position}",
            "type": "message",
            "role": "assistant",
            "status": "in_progress",
            "content": [],
        }
        part = {"type": "output_text", "text": text, "annotations": []}
        place = {"item_id": message["id"], "output_index": index, "content_index": 0}
        yield self._event("response.output_item.added", output_index=index, item=message)
        yield self._event("response.content_part.added", **place, part={**part, "text": ""})
        yield self._event("response.output_text.delta", **place, delta=text, logprobs=[])
        yield self._event("response.output_text.done", **place, text=text, logprobs=[])
        yield self._event("response.content_part.done", **place, part=part)
        message = {**message, "status": "completed", "content": [part]}
        self.items.append(message)
        yield self._event("response.output_item.done", output_index=index, item=message)

    def _event(self, kind: str, **fields: Any) -> dict[str, Any]:
        event = {"type": kind, "sequence_number": self._sequence, **fields}
        self._sequence += 1
        return event

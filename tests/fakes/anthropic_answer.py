"""The events of one answer of Anthropic's Messages API."""

import json
from typing import Any

from tests.fakes.service import (
    pieces,
)


class AnswerWriter:
    """Writes the events of one answer."""

    def __init__(self, body: Any) -> None:
        self._index = -1
        self._calls = 0
        self._body = body
        self._output = 0
        self._thoughts = 0
        usage = {
            "input_tokens": 50,
            "cache_read_input_tokens": 30,
            "cache_creation_input_tokens": 20,
            "output_tokens": 1,
        }
        message = {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": body["model"],
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": usage,
        }
        self.events: list[tuple[str | None, Any]] = []
        self._add("message_start", message=message)
        self._add("ping")

    def _add(self, kind: str, **fields: Any) -> None:
        self.events.append((kind, {"type": kind, **fields}))

    def _block(self, block: Any, deltas: list[Any]) -> None:
        self._index += 1
        self._output += 1 + len(deltas)
        self._add("content_block_start", index=self._index, content_block=block)
        for delta in deltas:
            self._add("content_block_delta", index=self._index, delta=delta)
        self._add("content_block_stop", index=self._index)

    def think(self, thoughts: str, signature: str) -> None:
        deltas: list[Any] = [
            {"type": "thinking_delta", "thinking": piece} for piece in pieces(thoughts)
        ]
        deltas.append({"type": "signature_delta", "signature": signature})
        self._thoughts += len(deltas)
        self._block({"type": "thinking", "thinking": "", "signature": ""}, deltas)

    def text(self, text: str) -> None:
        deltas = [{"type": "text_delta", "text": piece} for piece in pieces(text)]
        self._block({"type": "text", "text": ""}, deltas)

    def call(self, name: str, arguments: Any) -> None:
        self._calls += 1
        own_id = f"toolu_{len(self._body['messages'])}_{self._calls}"
        block = {"type": "tool_use", "id": own_id, "name": name, "input": {}}
        deltas = [
            {"type": "input_json_delta", "partial_json": piece}
            for piece in ["", *pieces(json.dumps(arguments))]
        ]
        self._block(block, deltas)

    def end(self, reason: str, details: Any) -> None:
        delta = {"stop_reason": reason, "stop_sequence": None, "stop_details": details}
        usage = {
            "output_tokens": self._output,
            "output_tokens_details": {"thinking_tokens": self._thoughts},
        }
        self._add("message_delta", delta=delta, usage=usage)
        self._add("message_stop")

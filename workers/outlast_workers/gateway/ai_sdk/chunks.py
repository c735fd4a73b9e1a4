"""Chunks of the UI message stream of Vercel's AI SDK, written from the events of a run.

| event of the run | chunks |
| --- | --- |
| `tool_call` | `tool-input-available` |
| `request_opened` | `data-request` with the request, and `tool-approval-request` if it is an approval |
| `tool_result` | `tool-output-available`, `tool-output-error` or `tool-output-denied` |
| `text`, `answer` | `text-start`, `text-delta`, `text-end` |
| `text_reset` | `text-end` that marks the text as discarded |
| `usage` | the `usage` of the message's metadata, in `finish` |
| `run_ended` without an answer | `error` |

Each decision of the model is one step. Source: `ai` 7.0.173, `ui-message-stream/ui-message-chunks.ts`. The
schemas of 6.0.326 accept all of them, and those of 5.0.277 all but `tool-approval-request` and
`tool-output-denied`.
"""

from collections.abc import Iterator
from typing import Any

from outlast_workers.gateway.agui_messages import answer_text
from outlast_workers.gateway.run_events import RunEvent
from outlast_workers.gateway.token_usage import AnswerUsage, ai_sdk_usage

DISCARDED = {"outlast": {"isDiscarded": True}}
"""The metadata of a text that is no part of an answer: the protocol cannot take a text back."""

Chunk = dict[str, Any]


def approval_id(request: dict[str, Any]) -> str:
    """Return the id of an approval: an approval counts only for the arguments that were shown."""
    return f"{request['request_id']}_{request['arguments_hash']}"


class ChunkWriter:
    """Turns the events of one answer into chunks. A step, and a text in it, can be open."""

    def __init__(self) -> None:
        self._step: int | None = None
        """The entry of the open step."""
        self._text: str | None = None
        self._texts = 0
        self._usage = AnswerUsage()

    def read(self, event: RunEvent) -> Iterator[Chunk]:
        """Yield the chunks of one event."""
        data: dict[str, Any] = event.data
        if event.type == "tool_call":
            yield from self._begin_step(int(data["call"].partition(".")[0]))
            yield _input(data["call"], data["tool"], data["arguments"])
        elif event.type == "usage":
            self._usage.add(event)
        elif event.type == "request_opened":
            yield from _request(data["call"], data["request"])
        elif event.type == "tool_result":
            yield _output(data["call"], data["result"])
        elif event.type == "text":
            yield from self._begin_step(event.position)
            yield from self._add(data["text"])
        elif event.type == "text_reset":
            yield from self._end_text(providerMetadata=DISCARDED)
        elif event.type == "answer":
            yield from self._begin_step(event.position - 1)
            if self._text is None:
                yield from self._add(answer_text(data["answer"]))
            yield from self._end_text()
        elif event.type == "run_ended" and data["status"] != "completed":
            reason = data.get("error") or f"the run stopped: {data.get('stop_reason')}"
            yield {"type": "error", "errorText": str(reason)}

    def end(self) -> Iterator[Chunk]:
        """Yield the chunks that end what is open."""
        yield from self._end_text()
        if self._step is not None:
            yield {"type": "finish-step"}
        self._step = None

    def finish(self) -> Chunk:
        """Return the last chunk of the message."""
        usage = self._usage.total
        metadata = None if usage is None else {"messageMetadata": {"usage": ai_sdk_usage(usage)}}
        return {"type": "finish", **(metadata or {})}

    def _begin_step(self, entry: int) -> Iterator[Chunk]:
        if self._step == entry:
            return
        yield from self.end()
        self._step = entry
        yield {"type": "start-step"}

    def _add(self, text: str) -> Iterator[Chunk]:
        if self._text is None:
            self._texts += 1
            self._text = f"text-{self._step}-{self._texts}"
            yield {"type": "text-start", "id": self._text}
        if text:
            yield {"type": "text-delta", "id": self._text, "delta": text}

    def _end_text(self, **fields: Any) -> Iterator[Chunk]:
        if self._text is not None:
            yield {"type": "text-end", "id": self._text, **fields}
        self._text = None


def _input(call: str, tool: str, arguments: Any) -> Chunk:
    return {
        "type": "tool-input-available",
        "toolCallId": call,
        "toolName": tool,
        "input": arguments,
    }


def _request(call: str, request: dict[str, Any]) -> Iterator[Chunk]:
    identifier = approval_id(request)
    yield {"type": "data-request", "id": identifier, "data": {**request, "toolCallId": call}}
    if request["kind"] == "question":
        return
    if request["edits"]:
        # The call is shown with the arguments that are to be approved now.
        yield _input(call, request["tool"], request["arguments"])
    yield {"type": "tool-approval-request", "approvalId": identifier, "toolCallId": call}


def _output(call: str, result: Any) -> Chunk:
    fields = result if isinstance(result, dict) and len(result) == 1 else {}
    if "denied" in fields:
        return {"type": "tool-output-denied", "toolCallId": call}
    if "error" in fields:
        return {"type": "tool-output-error", "toolCallId": call, "errorText": str(fields["error"])}
    return {"type": "tool-output-available", "toolCallId": call, "output": result}

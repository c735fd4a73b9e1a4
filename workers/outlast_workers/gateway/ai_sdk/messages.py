"""A conversation as messages of the AI SDK: what a page shows when it is opened again."""

from collections.abc import Iterable, Sequence
from typing import Any

from outlast.client.waiting import Waiting
from outlast.contracts.human import PendingRequest
from outlast.contracts.media import with_labels
from outlast.contracts.messages import Message
from outlast_workers.gateway.ai_sdk.chunks import Chunk, ChunkWriter
from outlast_workers.gateway.run_events import EventReader

Part = dict[str, Any]

_OUTPUTS = {
    "tool-output-available": "output-available",
    "tool-output-error": "output-error",
    "tool-output-denied": "output-denied",
}


def answer_id(position: int) -> str:
    """Return the id of the answer to the message at a position of the transcript."""
    return f"answer-{position}"


def ui_messages(entries: Sequence[Message], pending: Sequence[PendingRequest]) -> list[Part]:
    """Return a transcript, and the open requests after it, as messages.

    All decisions after a message of a person are one message of the assistant, as in its stream.
    """
    reader, writer = EventReader(), ChunkWriter()
    messages: list[Part] = []
    waiting = (Waiting(content="", request=request) for request in pending)
    shown: list[Message | Waiting] = [*entries, *waiting]
    position = 0
    for entry in shown:
        for event in reader.read(entry):
            if event.type == "message":
                position = event.position
                part = {"type": "text", "text": with_labels(str(event.data["text"]))}
                messages.append({"id": f"message-{position}", "role": "user", "parts": [part]})
                continue
            if messages and messages[-1]["role"] == "user":
                writer = ChunkWriter()
                messages.append({"id": answer_id(position), "role": "assistant", "parts": []})
            if messages:
                add_chunks(messages[-1]["parts"], writer.read(event))
    return messages


def add_chunks(parts: list[Part], chunks: Iterable[Chunk]) -> None:
    """Add chunks to the parts of a message, as a client does."""
    for chunk in chunks:
        kind = chunk["type"]
        if kind == "start-step":
            parts.append({"type": "step-start"})
        elif kind == "text-start":
            parts.append({"type": "text", "text": "", "state": "done"})
        elif kind == "text-delta":
            parts[-1]["text"] += chunk["delta"]
        elif kind.startswith("data-"):
            parts.append(chunk)
        elif "toolCallId" in chunk:
            _add_to_call(parts, chunk)


def _add_to_call(parts: list[Part], chunk: Chunk) -> None:
    call = chunk["toolCallId"]
    part = next((part for part in parts if part.get("toolCallId") == call), None)
    if part is None:
        part = {"type": f"tool-{chunk.get('toolName')}", "toolCallId": call}
        parts.append(part)
    if chunk["type"] == "tool-input-available":
        part |= {"state": "input-available", "input": chunk["input"]}
    elif chunk["type"] == "tool-approval-request":
        part |= {"state": "approval-requested", "approval": {"id": chunk["approvalId"]}}
    else:
        part["state"] = _OUTPUTS[chunk["type"]]
        part |= {name: chunk[name] for name in ("output", "errorText") if name in chunk}

"""Transcripts: their entries, digests and pages.

Workflow and workers compute the same digest of the same entries. So a worker knows whether its cached
transcript is the one of a model call.
"""

import hashlib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from pydantic import JsonValue

from outlast.contracts.messages import Decision, Message, Opaque, TranscriptPage
from outlast.contracts.names import INPUT
from outlast.errors import BadRequest
from outlast.text.json_text import to_json

if TYPE_CHECKING:
    from outlast.contracts.agents import PinnedAgent
    from outlast.contracts.usage import Usage

PAGE_BYTES = 1_000_000
"""Encoded content of one page: the server's limit for the result of a query is 2 MB."""

MAX_MESSAGE_BYTES = 1_500_000
"""The first message: an input as JSON, in a prompt. JSON can write a number in fewer characters."""

OPAQUE_OVERHEAD_BYTES = 400
"""Size of an opaque item besides its content: its issuer and its keys."""

USAGE_BYTES = 250
"""Size of the usage of an entry in JSON, or a little more."""

EMPTY_DIGEST = ""


def extended(digest: str, message: Message) -> str:
    """Return the digest of a transcript with one more entry, as its model reads it."""
    fields: list[JsonValue] = [
        digest,
        message.role,
        message.content,
        message.tool,
        message.call_id,
    ]
    if message.opaque is not None:
        fields += [message.opaque.issuer, message.opaque.content]
    entry = to_json(fields)
    return hashlib.sha256(entry.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def digest_of(messages: Iterable[Message]) -> str:
    """Return the digest of a transcript."""
    digest = EMPTY_DIGEST
    for message in messages:
        digest = extended(digest, message)
    return digest


def agent_digest(agent: "PinnedAgent") -> str:
    """Return the digest of a pinned agent: 128 bits, because runs of other people share its cache."""
    return hashlib.sha256(agent.model_dump_json().encode()).hexdigest()[:32]


def user_message(value: JsonValue, prompt: str = INPUT) -> Message:
    """Return the entry of a message from a person or a program; a value other than text becomes JSON.

    Raises `BadRequest` if the text would be too large. Its size is computed before it is built.
    """
    text = value if isinstance(value, str) else to_json(value)
    size = _size_of(prompt) + prompt.count(INPUT) * _size_of(text)
    if size > MAX_MESSAGE_BYTES:
        raise BadRequest(
            f"input: the first message would have {size:,} bytes; at most {MAX_MESSAGE_BYTES:,} are"
            " allowed: pass a reference, such as a path or a URL, that a tool can read"
        )
    return Message(role="user", content=prompt.replace(INPUT, text))


def _size_of(text: str) -> int:
    return len(text.encode(errors="replace"))


def decision_message(
    decision: Decision,
    opaque: Opaque | None = None,
    *,
    usage: "Usage | None" = None,
    trimmed: int | None = None,
) -> Message:
    """Return the entry of a decision, as JSON that matches the decision schema."""
    content = to_json(decision_json(decision))
    return Message(role="assistant", content=content, opaque=opaque, usage=usage, trimmed=trimmed)


def decision_json(decision: Decision) -> JsonValue:
    """Return a decision as JSON that matches the decision schema."""
    if not decision.tool_calls:
        return {"answer": decision.answer}
    calls: list[JsonValue] = [
        {"tool": call.tool, "arguments": call.arguments} for call in decision.tool_calls
    ]
    return {"tool_calls": calls}


def tool_message(tool: str, call_id: str, content: str) -> Message:
    """Return the entry of a tool's result; `content` is JSON text."""
    return Message(role="tool", tool=tool, call_id=call_id, content=content)


def page(messages: Sequence[Message], since: int, *, opaque: bool = False) -> TranscriptPage:
    """Return the entries from `since` that fit in a page, and at least one if there is one.

    Without `opaque` the entries are as people see them.
    """
    size = 0
    end = since
    while end < len(messages):
        size += len(to_json(messages[end].content).encode(errors="replace"))
        size += opaque_bytes(messages[end]) if opaque else 0
        size += USAGE_BYTES if messages[end].usage is not None else 0
        if size > PAGE_BYTES and end > since:
            break
        end += 1
    entries = tuple(messages[since:end])
    leaves_out = not opaque and any(entry.opaque is not None for entry in entries)
    return TranscriptPage(
        messages=tuple(map(without_opaque, entries)) if leaves_out else entries,
        next=end if end < len(messages) else None,
        total=len(messages),
        leaves_out=leaves_out,
    )


def without_opaque(message: Message) -> Message:
    """Return an entry without what only its model needs back."""
    return message if message.opaque is None else message.model_copy(update={"opaque": None})


def opaque_bytes(message: Message) -> int:
    """Return the size in JSON of what only the model of an entry needs back, or a little more."""
    if message.opaque is None:
        return 0
    return 2 * len(message.opaque.content.encode(errors="replace")) + OPAQUE_OVERHEAD_BYTES

"""Transcript entries and decisions of a model."""

from typing import Literal

from pydantic import Field, JsonValue

from outlast.contracts.base import WireModel
from outlast.contracts.usage import Usage


class Opaque(WireModel):
    """What only its issuer can read: signatures, encrypted reasoning, or thoughts that it needs back.

    An adapter replays it to the same `issuer`, and leaves it out for every other one. `content` is JSON
    text of the adapter's own choice. Nothing shows it to people.
    """

    issuer: str
    """The API, the host and the model, as `ModelServer` adapters write it: `api:host:model`."""
    content: str = Field(repr=False)


class Message(WireModel):
    """One entry of a transcript.

    `content` is text for the role `user`, a decision as compact JSON for `assistant`, and JSON text for
    `tool`. It is None if the entry only refers to a tool result, by its `call_id`.
    """

    role: Literal["user", "assistant", "tool"]
    content: str | None = None
    tool: str | None = None
    call_id: str | None = None
    decided: str | None = None
    """For a tool result: who approved, edited or answered. The model does not read it."""
    opaque: Opaque | None = None
    """For a decision: what its model needs back."""
    trimmed: int | None = None
    """For a decision: so many first entries came to its model without their tool results."""
    usage: Usage | None = None
    """For a decision: what the model calls of its turn used, failed attempts included. It is None if the
    model server reports no tokens, and in entries of older builds. The model does not read it."""


class ToolCall(WireModel):
    """A tool call that a model requests."""

    tool: str
    arguments: dict[str, JsonValue] = {}


class Decision(WireModel):
    """The decision of a model in one turn: tool calls, or the final answer if there are none."""

    tool_calls: tuple[ToolCall, ...] = ()
    answer: JsonValue = None


class TranscriptPage(WireModel):
    """The result of the query `transcript`: one page of entries, and the number of the next entry."""

    messages: tuple[Message, ...] = ()
    next: int | None = None
    total: int = 0
    leaves_out: bool = False
    """Whether the entries are without what only their models need back."""

"""The entries of a transcript, and what a model decides."""

from typing import Literal

from pydantic import JsonValue

from outlast.contracts.base import WireModel


class Message(WireModel):
    """One entry of a transcript.

    `content` is text for the roles `user` and `assistant` (there a decision as compact JSON) and JSON
    text for the role `tool`. It is None where the entry is only referred to, by its `call_id`.
    """

    role: Literal["user", "assistant", "tool"]
    content: str | None = None
    tool: str | None = None
    call_id: str | None = None
    decided: str | None = None
    """Of a tool's result: who approved, edited or answered, in words; the model does not read it."""


class ToolCall(WireModel):
    """A model's wish to call a tool."""

    tool: str
    arguments: dict[str, JsonValue] = {}


class Decision(WireModel):
    """What a model answers each turn: calls to make, or (with none) the final answer."""

    tool_calls: tuple[ToolCall, ...] = ()
    answer: JsonValue = None


class TranscriptPage(WireModel):
    """The answer of the query `transcript`: entries from `since`, and where the next page begins."""

    messages: tuple[Message, ...] = ()
    next: int | None = None
    total: int = 0

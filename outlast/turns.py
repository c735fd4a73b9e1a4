"""The turns of a prompt: what people said, what the model decided, and what its tools returned.

They are the transcript in the form that adapters translate to the messages of an API.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pydantic import JsonValue

from outlast.contracts.messages import Opaque
from outlast.text.json_text import to_json


@dataclass(frozen=True)
class UserTurn:
    """A message of a person or a program."""

    text: str


@dataclass(frozen=True)
class PromptCall:
    """One tool call of an earlier decision. `call_id` is unique in its run."""

    call_id: str
    tool: str
    arguments: dict[str, Any]


@dataclass(frozen=True)
class CallsTurn:
    """An earlier decision with tool calls."""

    calls: tuple[PromptCall, ...]
    opaque: Opaque | None = None

    @cached_property
    def text(self) -> str:
        """The decision as JSON text."""
        calls: list[JsonValue] = [
            {"tool": call.tool, "arguments": call.arguments} for call in self.calls
        ]
        return to_json({"tool_calls": calls})


@dataclass(frozen=True)
class AnswerTurn:
    """An earlier final answer, which a message of a person followed."""

    answer: JsonValue
    opaque: Opaque | None = None

    @cached_property
    def text(self) -> str:
        """The decision as JSON text."""
        return to_json({"answer": self.answer})


@dataclass(frozen=True)
class PromptResult:
    """The result of one tool call. `content` is JSON text."""

    call_id: str
    tool: str
    content: str
    is_error: bool = False


@dataclass(frozen=True)
class ResultsTurn:
    """The results of all calls of the decision before, in the order of the calls."""

    results: tuple[PromptResult, ...]


Turn = UserTurn | CallsTurn | AnswerTurn | ResultsTurn


@dataclass(frozen=True)
class ToolDefinition:
    """A tool as a model sees it. `parameters` is the JSON Schema of its arguments."""

    name: str
    description: str
    parameters: dict[str, Any]


@dataclass(frozen=True)
class RejectedText:
    """An answer of the same model call that was not accepted: its text, which may be cut, and why."""

    text: str
    problem: str

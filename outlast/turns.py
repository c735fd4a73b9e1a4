"""The turns of a prompt: messages of people, decisions of the model, and results of its tools.

They are the transcript in the form that adapters translate to the messages of an API.
"""

import base64
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from pydantic import JsonValue

from outlast.contracts.messages import Opaque
from outlast.text.json_text import to_json

_IMAGE_TOKENS = 6_000
"""An upper bound of the tokens of one image, in any API with its default detail."""

_TEXT_TYPES = ("application/json", "application/xml", "application/yaml")
"""Media types of files with text, besides `text/…`."""


@dataclass(frozen=True)
class UserTurn:
    """A message of a person or a program."""

    text: str

    def with_texts(self, change: Callable[[str], str]) -> "UserTurn":
        """Return the turn with a function applied to its text."""
        return UserTurn(change(self.text))


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

    def with_texts(self, change: Callable[[str], str]) -> "CallsTurn":
        """Return the turn with a function applied to the texts of its arguments."""
        calls = tuple(
            PromptCall(call.call_id, call.tool, _changed(call.arguments, change))
            for call in self.calls
        )
        return self if calls == self.calls else CallsTurn(calls)


@dataclass(frozen=True)
class AnswerTurn:
    """An earlier final answer, which a message of a person followed."""

    answer: JsonValue
    opaque: Opaque | None = None

    @cached_property
    def text(self) -> str:
        """The decision as JSON text."""
        return to_json({"answer": self.answer})

    def with_texts(self, change: Callable[[str], str]) -> "AnswerTurn":
        """Return the turn with a function applied to the texts of the answer."""
        answer = _changed(self.answer, change)
        return self if answer == self.answer else AnswerTurn(answer)


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

    def with_texts(self, change: Callable[[str], str]) -> "ResultsTurn":
        """Return the turn with a function applied to the content of its results."""
        return ResultsTurn(
            tuple(replace(result, content=change(result.content)) for result in self.results)
        )


def _changed(value: Any, change: Callable[[str], str]) -> Any:
    """Return JSON with a function applied to its texts."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        return [_changed(entry, change) for entry in value]
    if isinstance(value, dict):
        return {name: _changed(entry, change) for name, entry in value.items()}
    return value


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


@dataclass(frozen=True)
class MediaPart:
    """An image or a file of a prompt: its `data`, or a `url` that the server fetches.

    `reference` is the text that stands for it in the turns.
    """

    reference: str
    media_type: str
    data: bytes = field(default=b"", repr=False)
    url: str = ""
    name: str = ""

    @property
    def is_image(self) -> bool:
        """Whether it is an image, and no other file."""
        return self.media_type.startswith("image/")

    @property
    def is_text(self) -> bool:
        """Whether it is a file with text, which every model reads as a part of the prompt's text."""
        is_text = self.media_type.startswith("text/") or self.media_type in _TEXT_TYPES
        return is_text and not self.url

    @property
    def most_tokens(self) -> int:
        """An upper bound of its tokens: those of an image in any API, or one for each byte."""
        return _IMAGE_TOKENS if self.is_image else max(_IMAGE_TOKENS, len(self.data))

    @cached_property
    def base64(self) -> str:
        """The bytes in base64."""
        return base64.b64encode(self.data).decode()

    @property
    def any_url(self) -> str:
        """The `url`, or the bytes as a `data:` URL."""
        return self.url or f"data:{self.media_type};base64,{self.base64}"

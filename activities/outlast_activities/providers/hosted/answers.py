"""An answer of a hosted API while it is read: text, tool calls, thoughts and counts."""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import JsonValue

from outlast.contracts.messages import Opaque
from outlast.model_server import Completion
from outlast.text.json_text import to_json
from outlast_activities.generation.decision_text import well_formed
from outlast_activities.providers.streams import (
    BYTES_PER_TOKEN,
    IN_FLIGHT_TOKENS,
    MAX_MODEL_NAME,
    MAX_REFUSAL,
    completion_of,
    failure_of_end,
)

ENTRY_CHARACTERS = 100
"""What a call, or an entry that the API needs back, counts besides its text: it takes memory, too."""


@dataclass
class StreamedCall:
    """A tool call of an answer. `arguments` is JSON text, which may be incomplete."""

    call_id: str
    name: str
    arguments: str = ""


@dataclass(frozen=True)
class Restoration:
    """The way back from an API's answer to a decision.

    `calls` restores the arguments of each tool by its name in the API, and names the tool. `answer`
    restores an answer that is text, or the arguments of the tool `answer_tool`.
    """

    calls: Mapping[str, tuple[str, Callable[[JsonValue], JsonValue]]]
    answer: Callable[[JsonValue], JsonValue]
    answer_tool: str | None = None


@dataclass
class HostedAnswer(ABC):
    """An answer that is being read. `prompt_bytes` is the size of its prompt.

    A subclass reads the chunks of one API. `blocks` are what the API needs back with its calls.
    """

    restoration: Restoration
    prompt_bytes: int = 0
    pieces: int = 0
    texts: list[str] = field(default_factory=list)
    calls: list[StreamedCall] = field(default_factory=list)
    finish_reason: str | None = None
    refusal: str = ""
    model: str = ""
    is_reasoning: bool = False
    is_alive: bool = False
    reasoning_pieces: int = 0
    reasoning_characters: int = 0
    kept_characters: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    _characters: int = 0
    _read_texts: int = 0
    _read_arguments: int = 0

    @abstractmethod
    def add(self, chunk: Mapping[str, Any]) -> str:
        """Add a chunk. Return its text. Raises `AnswerAborted` for an error in the chunk."""

    @abstractmethod
    def opaque_content(self) -> str | None:
        """Return what the API needs back with the calls of this answer, as JSON text."""

    @property
    def has_begun(self) -> bool:
        """Whether a piece of the answer has arrived."""
        return self.pieces > 0

    @property
    def completion_tokens(self) -> int:
        """The tokens of the answer so far."""
        return self.counts.get("completion_tokens") or self.pieces + self.reasoning_pieces

    def note_piece(self, text: str) -> str:
        """Count a piece of text or of arguments, and return it."""
        self.pieces += bool(text)
        self._characters += len(text)
        return text

    def note_kept(self, entry: object) -> None:
        """Count an entry that is kept: a broken server sends them without an end."""
        self.kept_characters += ENTRY_CHARACTERS + len(json.dumps(entry))

    def note_refusal(self, text: str) -> None:
        """Add to the reason of a refusal."""
        self.refusal = (self.refusal + text)[:MAX_REFUSAL]

    def note_thoughts(self, text: str) -> None:
        """Count a piece of thoughts."""
        self.is_reasoning = True
        self.reasoning_pieces += 1
        self.reasoning_characters += len(text)

    @property
    def is_prose(self) -> bool:
        """Whether the final answer is the text itself, and not JSON."""
        return False

    def new_answer_text(self) -> str:
        """Return what was added to the final answer since the last call. It is empty in tool calls."""
        tool = self.restoration.answer_tool
        if self.calls:
            if self._read_texts or any(call.name != tool for call in self.calls):
                return ""
            arguments, start = self.calls[0].arguments, self._read_arguments
            self._read_arguments = len(arguments)
            return arguments[start:]
        if tool is not None and not self.is_prose:
            return ""
        new, self._read_texts = self.texts[self._read_texts :], len(self.texts)
        return "".join(new)

    @property
    def text(self) -> str:
        """The decision so far as JSON text. It is not JSON if the model's own text is not."""
        return well_formed(self._decision_text())

    def _decision_text(self) -> str:
        tool = self.restoration.answer_tool
        calls = [call for call in self.calls if call.name != tool]
        if calls:
            return '{"tool_calls":[' + ",".join(map(self._call_text, calls)) + "]}"
        answers = [call.arguments for call in self.calls]
        text = answers[0] if answers else "".join(self.texts)
        return _restored(text, self.restoration.answer)

    def _call_text(self, call: StreamedCall) -> str:
        name, restore = self.restoration.calls.get(call.name, (call.name, lambda value: value))
        arguments = _restored(call.arguments or "{}", restore)
        return f'{{"tool":{json.dumps(name)},"arguments":{arguments}}}'

    def tokens(self, *, max_tokens: int | None = None) -> dict[str, int]:
        """Return the usage: as the server counts it, or an upper estimate.

        Pass the prompt's `max_tokens` if the answer was not read to its end: it may have more tokens.
        """
        if not self.pieces and not self.reasoning_pieces and not self.counts:
            return {}
        estimate = max(self.pieces, self._characters // BYTES_PER_TOKEN) + self.reasoning_pieces
        usage = {
            "prompt_tokens": self.prompt_bytes // BYTES_PER_TOKEN,
            "completion_tokens": estimate,
        }
        usage |= {name: count for name, count in self.counts.items() if count}
        if max_tokens is not None:
            generated = max(usage["completion_tokens"], estimate) + IN_FLIGHT_TOKENS
            usage["completion_tokens"] = min(generated, max_tokens)
        usage["reasoning_tokens"] = min(
            usage.get("reasoning_tokens", 0), usage["completion_tokens"]
        )
        return usage

    def completion(self, model: str, issuer: str) -> Completion:
        """Return an answer that was read to its end. Raises `AnswerAborted` if it has no end."""
        failure = failure_of_end(
            self.finish_reason,
            refusal=self.refusal,
            tokens=self.completion_tokens,
            is_begun=True,
        )
        content = self.opaque_content() if self.calls and failure is None else None
        opaque = None if content is None else Opaque(issuer=issuer, content=content)
        return completion_of(
            self.text, self.tokens(), failure, (self.model or model)[:MAX_MODEL_NAME], opaque
        )


def _restored(text: str, restore: Callable[[JsonValue], JsonValue]) -> str:
    """Return JSON text with its value restored, or the text if it is not JSON."""
    try:
        return to_json(restore(json.loads(text)))
    except (ValueError, TypeError, RecursionError):
        return text

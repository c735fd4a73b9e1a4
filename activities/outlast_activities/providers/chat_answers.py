"""An answer of chat completions with tool calls, in the forms in which servers send them.

OpenAI streams a call in pieces with an `index`. Others leave the index out, repeat the id, send arguments
as an object, or end an answer with calls for the reason `stop`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from outlast_activities.providers.error_bodies import error_in
from outlast_activities.providers.finish_reasons import finish_reason_in
from outlast_activities.providers.hosted.answers import HostedAnswer, StreamedCall
from outlast_activities.providers.streams import (
    MAX_MODEL_NAME,
    REASONING,
    THOUGHTS,
    first_choice,
    raise_error,
    text_in,
)
from outlast_activities.providers.token_counts import counts_in

MAX_CALLS_READ = 64
"""Tool calls of one answer that are read. More are left out: no decision has as many."""


@dataclass
class ChatAnswer(HostedAnswer):
    """Reads the chunks of chat completions. `thoughts_field` names the thoughts that go back.

    With `answers_in_text` an answer without a call is the text of the final answer.
    """

    thoughts_field: str = ""
    requires_thoughts: bool = False
    answers_in_text: bool = False
    _places: dict[object, int] = field(default_factory=dict)
    _thoughts: list[str] = field(default_factory=list)
    _details: list[dict[str, Any]] = field(default_factory=list)

    def add(self, chunk: Mapping[str, Any]) -> str:
        """Add a chunk. Return its text. Raises `AnswerAborted` for an error in the chunk."""
        raise_error(error_in(chunk))
        model = chunk.get("model")
        self.model = model[:MAX_MODEL_NAME] if isinstance(model, str) and model else self.model
        self.counts.update(counts_in(chunk))
        choice = first_choice(chunk.get("choices"))
        raise_error(choice.get("error"))
        self.finish_reason = finish_reason_in(choice.get("finish_reason")) or self.finish_reason
        delta = choice.get("delta") or choice.get("message") or {}
        self.is_reasoning = False
        if not isinstance(delta, Mapping):
            return ""
        self._add_thoughts(delta)
        self.note_refusal(text_in(delta.get("refusal")))
        text = text_in(delta.get("content"))
        if text:
            self.texts.append(text)
        pieces = [text, *map(self._add_call, _calls_in(delta))]
        return self.note_piece("".join(pieces))

    @property
    def is_prose(self) -> bool:
        """Whether the final answer is the text itself, and not JSON."""
        return self.answers_in_text and not self.calls

    def opaque_content(self) -> str | None:
        """Return the thoughts and the ids of the calls, which the service needs back."""
        if not self.thoughts_field:
            return None
        thoughts: object = self._details or "".join(self._thoughts)
        if not thoughts and not self.requires_thoughts:
            return None
        ids = [call.call_id for call in self.calls]
        return json.dumps({"thoughts": {self.thoughts_field: thoughts}, "ids": ids})

    def _decision_text(self) -> str:
        if self.answers_in_text and not self.calls:
            text = "".join(self.texts).strip()
            return json.dumps({"answer": text}, ensure_ascii=False) if text else ""
        return super()._decision_text()

    def _add_thoughts(self, delta: Mapping[str, Any]) -> None:
        details = delta.get("reasoning_details")
        if self.thoughts_field == "reasoning_details" and isinstance(details, list):
            for detail in details:
                self._add_detail(detail)
        thoughts = [text_in(delta.get(name)) for name in REASONING]
        text = next(filter(None, thoughts), "") + text_in(delta.get("content"), THOUGHTS)
        if text:
            self.note_thoughts(text)
            if self.thoughts_field:
                self._thoughts.append(text)

    def _add_detail(self, detail: object) -> None:
        """Add a piece of an opaque item. Pieces of one item have the same index and type."""
        if not isinstance(detail, Mapping):
            return
        self.note_kept(detail)
        last = self._details[-1] if self._details else {}
        place = (last.get("type"), last.get("index"))
        if not last or place != (detail.get("type"), detail.get("index")) or place[1] is None:
            self._details.append(dict(detail))
            return
        for name, value in detail.items():
            if name in ("text", "summary", "data") and isinstance(value, str):
                last[name] = (last.get(name) or "") + value
            elif value is not None:
                last[name] = value

    def _add_call(self, piece: Mapping[str, Any]) -> str:
        """Add a piece of a tool call. Return its text."""
        function = piece.get("function")
        function = function if isinstance(function, Mapping) else piece
        name, arguments = function.get("name"), function.get("arguments")
        call_id = piece.get("id")
        name = name if isinstance(name, str) else ""
        call = self._call(piece.get("index"), call_id if isinstance(call_id, str) else "", name)
        if call is None:
            return ""
        if arguments is None:
            return ""
        text = arguments if isinstance(arguments, str) else json.dumps(arguments)
        call.arguments += text
        return text or ""

    def _call(self, index: object, call_id: str, name: str) -> StreamedCall | None:
        """Return the call that a piece belongs to: a new one if its place, id or name is new."""
        last = self.calls[-1] if self.calls else None
        if isinstance(index, int) and not isinstance(index, bool):
            known = self._places.get(index)
            call = None if known is None else self.calls[known]
            # Some servers number every call 0.
            if call is not None and call_id and call.call_id and call_id != call.call_id and name:
                call = None
        else:
            is_new = last is None or (name and (call_id != last.call_id or last.arguments))
            call = None if is_new else last
        if call is not None:
            call.call_id = call.call_id or call_id
            if name and name != call.name and not call.arguments:
                call.name += name
                self.note_kept(name)
            return call
        if len(self.calls) >= MAX_CALLS_READ:
            return None
        call = StreamedCall(call_id, name)
        self._places[index] = len(self.calls)
        self.calls.append(call)
        return call


def _calls_in(delta: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the pieces of calls of a delta, also in the older form with one `function_call`."""
    pieces = delta.get("tool_calls")
    if isinstance(pieces, Mapping):
        pieces = [pieces]
    older = delta.get("function_call")
    if not pieces and isinstance(older, Mapping):
        pieces = [{"index": 0, "function": older}]
    return [piece for piece in pieces or () if isinstance(piece, Mapping)]

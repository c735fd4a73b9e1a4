"""How much of an answer one client has seen, so that its text equals the transcript's in the end.

A client adds up the `text` events of an answer, and forgets them after `text_reset`. The entry of the
transcript decides: if it differs from what the client has seen, the text is sent again after a reset.
"""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from outlast.errors import BadRequest
from outlast_workers.gateway.answer_hub import HubAnswer
from outlast_workers.gateway.run_events import OF_TURN, RunEvent

_PLACE = re.compile(r"([0-9]{1,10})(?:\.([0-9]{1,17})\.([0-9]{1,9}))?")


@dataclass(frozen=True)
class Place:
    """What a client has seen: so many entries, and so many characters of an attempt of the next one."""

    entries: int = 0
    attempt: int = 0
    characters: int = 0


def read_place(text: str) -> Place:
    """Return the place that the id of an event names. Raises `BadRequest`."""
    match = _PLACE.fullmatch(text)
    if match is None:
        raise BadRequest(f"after: {text[:40]!r} is not the id of an event")
    entries, attempt, characters = match.groups(default="0")
    return Place(int(entries), int(attempt), int(characters))


def _digest() -> Any:
    return hashlib.blake2b(digest_size=16)


@dataclass
class AnswerCursor:
    """One client's place in the answers of a run."""

    entry: int
    attempt: int = 0
    characters: int = 0
    _seen: Any = field(default_factory=_digest)
    """The digest of the text that the client has seen. None if only the client knows it."""
    _is_begun: bool = False
    _has_thought: bool = False

    @classmethod
    def at(cls, place: Place) -> "AnswerCursor":
        """Return the cursor of a client that continues at a place."""
        cursor = cls(place.entries, place.attempt, place.characters)
        if place.characters:
            cursor._seen, cursor._is_begun = None, True
        return cursor

    def read(self, answer: HubAnswer | None, entries: int) -> Iterator[RunEvent]:
        """Yield what the client lacks of an answer, if it is the entry after the first `entries`."""
        if answer is None or answer.entry != entries:
            return
        is_new = (self.entry, self.attempt) != (answer.entry, answer.attempt)
        if is_new:
            yield from self._reset(answer.entry, answer.attempt, "the prompt is repeated")
        if not self._is_begun:
            self._is_begun = True
            yield self._event("turn", turn=answer.turn)
        if answer.is_thinking and not self._has_thought:
            self._has_thought = True
            yield self._event("reasoning")
        if len(answer.text) > self.characters:
            self._check(answer)
            yield self._text(answer.text[self.characters :])

    def settle(self, event: RunEvent, answer: HubAnswer | None) -> Iterator[RunEvent]:
        """Yield what the client lacks before it sees an entry of the transcript."""
        if not event.is_durable or event.type in OF_TURN:
            return
        if self.characters:
            final = event.data.get("answer") if event.type == "answer" else None
            if answer is not None and answer.attempt == self.attempt:
                self._check(answer)
            if not isinstance(final, str):
                yield from self._reset(self.entry, 0, "the model did not answer")
            elif not self._has_seen(final):
                yield from self._reset(self.entry, self.attempt, "the answer is another one")
            if isinstance(final, str) and len(final) > self.characters:
                yield self._text(final[self.characters :])
        self.entry, self.attempt, self.characters = event.position, 0, 0
        self._seen, self._is_begun, self._has_thought = _digest(), False, False

    def _check(self, answer: HubAnswer) -> None:
        """Learn what a client has seen that came back, from the text of the same attempt."""
        if self._seen is None and len(answer.text) >= self.characters:
            self._seen = _digest()
            self._seen.update(answer.text[: self.characters].encode())

    def _has_seen(self, final: str) -> bool:
        """Return whether the client has seen the beginning of a text."""
        if self._seen is None or len(final) < self.characters:
            return False
        expected = _digest()
        expected.update(final[: self.characters].encode())
        return bool(expected.digest() == self._seen.digest())

    def _text(self, text: str) -> RunEvent:
        self.characters += len(text)
        if self._seen is not None:
            self._seen.update(text.encode())
        return self._event("text", text=text)

    def _reset(self, entry: int, attempt: int, reason: str) -> Iterator[RunEvent]:
        had_text, self.characters = self.characters > 0, 0
        self.entry, self.attempt, self._seen = entry, attempt, _digest()
        self._is_begun = self._has_thought = False
        if had_text:
            yield self._event("text_reset", reason=reason)

    def _event(self, kind: str, **data: Any) -> RunEvent:
        return RunEvent(kind, self.entry, data, (self.attempt, self.characters))

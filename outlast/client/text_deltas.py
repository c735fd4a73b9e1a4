"""The text of answers between the entries of a stream: what a reader lacks, and what it must forget."""

import asyncio
import math
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from outlast.client.gateway import TextPiece
from outlast.client.waiting import Waiting
from outlast.contracts.base import OutputModel
from outlast.contracts.messages import Message
from outlast.text.json_text import from_json

WRITES_WITHIN_S = 5.0
"""While a model writes, its run is not queried, until so many seconds pass without more text."""

_Item = TypeVar("_Item")


class TextDelta(OutputModel):
    """A piece of an answer that a model writes now: an entry of `Run.stream` of a client with a gateway.

    The text so far is `text = text[:delta.offset] + delta.content`. An `offset` below its length drops what
    follows: the prompt was repeated, or the model calls a tool. Before the entry of the answer comes, the
    text equals the answer.
    """

    role: Literal["text"] = "text"
    content: str
    offset: int


@dataclass
class AnswerReader:
    """The text that a reader has of the entry after the first `entries`."""

    entries: int = 0
    shown: str = ""
    ahead: tuple[int, str] = (0, "")
    """The text of a later entry, which came before the entries that precede it."""
    text_at: float = -math.inf
    """When the last text of the next entry came. The gateway shows when its model has written the entry."""

    def pause_s(self) -> float:
        """Return how long nobody queries the run: while a model writes its next entry."""
        return self.text_at + WRITES_WITHIN_S - time.monotonic()

    def read(self, piece: TextPiece) -> Iterator[TextDelta]:
        """Yield a piece if its entry is the next one."""
        if piece.entry < self.entries:
            return
        if piece.entry > self.entries:
            entry, text = self.ahead
            before = text if entry == piece.entry and not piece.reset else ""
            self.ahead = (piece.entry, before + piece.text)
        elif piece.reset:
            self.text_at = -math.inf
            yield from self._replace("")
        elif piece.text:
            self.text_at = time.monotonic()
            yield from self._replace(self.shown + piece.text)

    def settle(self, message: Message) -> Iterator[TextDelta]:
        """Yield what the reader lacks before an entry: the transcript decides."""
        yield from self._replace(_answer(message))

    def next_entry(self) -> Iterator[TextDelta]:
        """Begin the text of the next entry."""
        self.entries, self.shown, self.text_at = self.entries + 1, "", -math.inf
        entry, text = self.ahead
        if entry == self.entries:
            yield from self._replace(text)

    def _replace(self, text: str) -> Iterator[TextDelta]:
        offset = len(self.shown) if text.startswith(self.shown) else 0
        if text != self.shown:
            yield TextDelta(content=text[offset:], offset=offset)
        self.shown = text


def _answer(message: Message) -> str:
    if message.role != "assistant":
        return ""
    decision: Any = from_json(message.content or "{}")
    final = decision.get("answer") if isinstance(decision, dict) else None
    return final if isinstance(final, str) else ""


async def with_text(
    reader: AnswerReader,
    entries: AsyncGenerator[Message | Waiting, None],
    pieces: AsyncGenerator[TextPiece, None],
    wake: asyncio.Event,
) -> AsyncGenerator[Message | Waiting | TextDelta, None]:
    """Yield entries, and the text of each answer before its entry. `wake` makes the entries come sooner."""
    async with aclosing(entries), aclosing(pieces):
        reading, hearing = _next(entries), _next(pieces)
        try:
            while True:  # ends with the entries
                both: list[asyncio.Future[Any]] = [reading, hearing]
                await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
                if hearing.done():
                    piece = hearing.result()
                    hearing = asyncio.get_running_loop().create_future()  # no more texts
                    if piece is not None:
                        hearing = _next(pieces)
                        if piece.is_news or piece.entry > reader.entries:
                            wake.set()
                        for delta in reader.read(piece):
                            yield delta
                if reading.done():
                    if (entry := reading.result()) is None:
                        return
                    reading = _next(entries)
                    for each in _with_deltas(reader, entry):
                        yield each
        finally:
            reading.cancel()
            hearing.cancel()
            await asyncio.gather(reading, hearing, return_exceptions=True)


def _with_deltas(
    reader: AnswerReader, entry: Message | Waiting
) -> Iterator[Message | Waiting | TextDelta]:
    if isinstance(entry, Waiting):
        yield entry
        return
    yield from reader.settle(entry)
    yield entry
    yield from reader.next_entry()


def _next(source: AsyncGenerator[_Item, None]) -> "asyncio.Future[_Item | None]":
    async def item() -> _Item | None:
        return await anext(source, None)

    return asyncio.ensure_future(item())

"""The text of an answer in a terminal, while a model writes it."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from pydantic import JsonValue

from outlast.terminal.console import print_lines, print_value
from outlast.terminal.request_text import printable

if TYPE_CHECKING:
    from outlast.client.gateway import Gateway


class LiveText:
    """Prints the text of one answer as it comes. In the end, the terminal shows the answer itself."""

    def __init__(self, gateway: "Gateway | None", run_id: str) -> None:
        # Without a terminal, a text that begins anew would look like part of the answer.
        self._gateway = gateway if sys.stdout.isatty() else None
        self._run_id = run_id
        self._shown = ""
        self._entry = 0
        """The number of entries before the answer."""

    def skip(self, entries: int) -> None:
        """Print no text of the first entries: they are in the terminal."""
        self._entry = entries

    @asynccontextmanager
    async def printed(self) -> AsyncIterator[None]:
        """Print the text of the answer while the block runs."""
        if self._shown:  # an earlier wait ended in the middle of the text, which comes again
            self._drop("it is shown again")
        printing = asyncio.create_task(self._print())
        try:
            yield
        finally:
            printing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await printing

    def end(self, answer: JsonValue) -> None:
        """Print what the terminal lacks of the answer."""
        shown, self._shown = self._shown, ""
        self._entry += bool(shown)  # the text of an answer can come late
        if isinstance(answer, str) and shown and answer.startswith(shown):
            _write(answer[len(shown) :] + "\n")
            return
        if shown:
            self._drop("the answer is another one")
        print_value(answer)

    async def _print(self) -> None:
        if self._gateway is None:
            return
        async with contextlib.aclosing(self._gateway.texts(self._run_id, self._entry)) as pieces:
            async for piece in pieces:
                if piece.is_news or piece.entry < self._entry:
                    continue
                self._entry = piece.entry
                if piece.reset and self._shown:
                    self._drop(piece.reset)
                self._shown += piece.text
                _write(piece.text)

    def _drop(self, reason: str) -> None:
        self._shown = ""
        _write("\n")
        print_lines(f"(dropped: {reason})", to_error=True)


def _write(text: str) -> None:
    sys.stdout.write("\n".join(map(printable, text.split("\n"))))
    sys.stdout.flush()

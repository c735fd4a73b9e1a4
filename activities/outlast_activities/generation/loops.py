"""Loops: notices, while an answer is generated, that it goes nowhere.

A JSON Schema admits white space between any two tokens, and strings and lists without a bound: small
models fall into either for as long as they are let. What is cut here is seen as it comes, piece by
piece; a piece is one token, or some where a server sends several at once.
"""

from collections import deque

from outlast.errors import ModelFailure
from outlast.model_server import LOOP_TOKENS

BLANK_TOKENS = 48
"""Tokens of white space in a row: pretty-printing takes a handful, the deepest indentation too."""

BLANK_CHARACTERS = 400
"""The same in characters, for a server that sends many tokens as one piece."""

REPEATS = 6
"""How often the same text stands in a loop, at least: five equal rows of a table are none."""

WINDOW = 4
"""How many times `loop_tokens` are looked at: a loop of whole sentences shows itself over that many."""

LOOK_EVERY = 8
"""Tokens between two looks for repetition."""

PROBE = 12
"""Characters of the end that are searched for before it: where they stand is a period."""

MAX_PERIODS = 24
"""Candidates that one look tries: text that is full of the probe is no likelier a loop for it."""


class LoopWatch:
    """Watches one answer. `loop_tokens` is how much repetition is let pass."""

    def __init__(self, loop_tokens: int = LOOP_TOKENS) -> None:
        self._loop_tokens = loop_tokens
        self._sizes: deque[int] = deque(maxlen=WINDOW * loop_tokens)
        self._tail = ""
        self._tokens = 0
        self._blank_tokens = 0
        self._blank_characters = 0

    def seen(self, piece: str) -> ModelFailure | None:
        """Take the next piece of the answer; return the loop that it is in, if any."""
        if not piece:
            return None
        return self._blank(piece) or self._repeated(piece)

    def _blank(self, piece: str) -> ModelFailure | None:
        rest = piece.rstrip()
        ending = len(piece) - len(rest)
        if rest:
            self._blank_tokens, self._blank_characters = 0, ending
        else:
            self._blank_tokens += 1
            self._blank_characters += ending
        if self._blank_tokens >= BLANK_TOKENS or self._blank_characters >= BLANK_CHARACTERS:
            return ModelFailure.WHITESPACE_LOOP
        return None

    def _repeated(self, piece: str) -> ModelFailure | None:
        self._sizes.append(len(piece))
        self._tail += piece
        self._tokens += 1
        if self._tokens % LOOK_EVERY or self._tokens < self._loop_tokens:
            return None
        self._tail = self._tail[-sum(self._sizes) :]
        least = sum(list(self._sizes)[-self._loop_tokens :])
        return ModelFailure.REPETITION_LOOP if is_looping(self._tail, least) else None


def is_looping(text: str, least: int) -> bool:
    """Tell whether a text ends in another over and over, `REPEATS` times and for `least` characters."""
    longest = len(text) // REPEATS
    if longest < 1:
        return False
    probe = text[-min(PROBE, longest) :]
    end = len(text) - len(probe)
    at = end
    for _ in range(MAX_PERIODS):
        at = text.rfind(probe, max(0, end - longest), at + len(probe) - 1)
        if at < 0:
            return False
        period = end - at
        looped = text[-max(least, REPEATS * period) :]
        if looped[period:] == looped[:-period]:
            return True
    return False

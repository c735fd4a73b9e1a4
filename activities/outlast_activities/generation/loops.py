"""Detection of loops in an answer while it is generated.

A JSON Schema allows white space between any two tokens, and strings and lists without a limit. Small
models can loop in either until `max_tokens`. `LoopWatch` looks at each piece as it arrives. A piece is
one token, or several if the server sends several at once.
"""

from collections import deque

from outlast.errors import ModelFailure
from outlast.model_server import LOOP_TOKENS

BLANK_TOKENS = 48
"""Tokens of white space in a row that are a loop. Pretty-printed JSON has a handful, even if deeply
nested."""

BLANK_CHARACTERS = 400
"""The same in characters, for servers that send many tokens in one piece."""

REPEATS = 6
"""How often a text must repeat to be a loop: five equal rows of a table are not one."""

WINDOW = 4
"""Repetition is searched in this many times `loop_tokens`: a loop of whole sentences needs that many."""

CHECK_EVERY = 8
"""Tokens between two searches for repetition."""

PROBE_CHARACTERS = 12
"""Characters of the end that are searched for in the text before it. The distance is a candidate period."""

MAX_PERIODS = 24
"""Candidate periods that one search tries."""


class LoopWatch:
    """Watches one answer. `loop_tokens` is the number of tokens of repetition that are allowed."""

    def __init__(self, loop_tokens: int = LOOP_TOKENS) -> None:
        self._loop_tokens = loop_tokens
        self._sizes: deque[int] = deque(maxlen=WINDOW * loop_tokens)
        self._tail = ""
        self._tokens = 0
        self._blank_tokens = 0
        self._blank_characters = 0

    def add(self, piece: str) -> ModelFailure | None:
        """Add the next piece of the answer. Return the kind of loop that it is in, or None."""
        if not piece:
            return None
        return self._whitespace_loop(piece) or self._repetition_loop(piece)

    def _whitespace_loop(self, piece: str) -> ModelFailure | None:
        text = piece.rstrip()
        blank_characters = len(piece) - len(text)
        if text:
            self._blank_tokens, self._blank_characters = 0, blank_characters
        else:
            self._blank_tokens += 1
            self._blank_characters += blank_characters
        if self._blank_tokens >= BLANK_TOKENS or self._blank_characters >= BLANK_CHARACTERS:
            return ModelFailure.WHITESPACE_LOOP
        return None

    def _repetition_loop(self, piece: str) -> ModelFailure | None:
        self._sizes.append(len(piece))
        self._tail += piece
        self._tokens += 1
        if self._tokens % CHECK_EVERY or self._tokens < self._loop_tokens:
            return None
        self._tail = self._tail[-sum(self._sizes) :]
        least = sum(list(self._sizes)[-self._loop_tokens :])
        return ModelFailure.REPETITION_LOOP if is_looping(self._tail, least) else None


def is_looping(text: str, least: int) -> bool:
    """Return whether a text ends in `REPEATS` or more copies of a text, `least` characters or more."""
    longest = len(text) // REPEATS
    if longest < 1:
        return False
    probe = text[-min(PROBE_CHARACTERS, longest) :]
    end = len(text) - len(probe)
    position = end
    for _ in range(MAX_PERIODS):
        position = text.rfind(probe, max(0, end - longest), position + len(probe) - 1)
        if position < 0:
            return False
        period = end - position
        looped = text[-max(least, REPEATS * period) :]
        if looped[period:] == looped[:-period]:
            return True
    return False

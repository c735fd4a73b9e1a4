"""The text of a final answer, read while the model still writes it.

A model writes most answers as JSON: `{"answer":"…"}`. Only an answer that is text can be shown before its
end. Objects and lists are shown when they are complete.
"""

import re

from outlast_activities.generation.decision_text import (
    BEGIN_OF_THOUGHTS,
    END_OF_THOUGHTS,
    well_formed,
)

MAX_HEAD_CHARACTERS = 20_000
"""Characters before the decision, such as prose or a Markdown fence. After more, no text is shown."""

MAX_BEGIN_CHARACTERS = 200
"""Characters between the first brace of a decision and the text of its answer."""

MAX_MARK_CHARACTERS = 40
"""More than a mark that ends thoughts has. So many are kept, because a mark can come in two pieces."""

# Hosted APIs take no schema with alternatives at its root, so their decision is the value of an object.
_ANSWER = re.compile(r'\{\s*(?:"value"\s*:\s*\{\s*)?"answer"\s*:\s*"')
_PLAIN = re.compile(r'[^"\\]+')
_ESCAPES = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_UNICODE_ESCAPE = 6
"""Characters of an escape such as `\\u00e9`."""


class AnswerText:
    """Reads the pieces of one answer. With `is_prose` they are the text itself, and not JSON."""

    def __init__(self, *, is_prose: bool = False) -> None:
        self._is_prose = is_prose
        self._rest = ""
        self._is_thinking = False
        self._is_in_answer = False
        self._is_over = False
        self._half = ""

    def add(self, piece: str) -> str:
        """Add a piece, and return the text that it adds to the answer."""
        if not piece or self._is_over:
            return ""
        self._rest += piece
        if self._is_prose:
            return self._prose()
        if not self._is_in_answer:
            self._find_answer()
        return self._string() if self._is_in_answer else ""

    def _prose(self) -> str:
        """Return the text without the white space at its end, which may be the end of the answer."""
        if not self._is_in_answer:
            self._rest = self._rest.lstrip()
            self._is_in_answer = bool(self._rest)
        text = self._rest.rstrip()
        self._rest = self._rest[len(text) :]
        return self._joined(text) if text else ""

    def _find_answer(self) -> None:
        if self._is_thinking:
            end = END_OF_THOUGHTS.search(self._rest)
            if end is None:
                self._rest = self._rest[-MAX_MARK_CHARACTERS:]
                return
            self._rest, self._is_thinking = self._rest[end.end() :], False
        elif BEGIN_OF_THOUGHTS.match(self._rest):
            self._is_thinking = True
            self._find_answer()
            return
        start = self._rest.find("{")
        begin = None if start < 0 else _ANSWER.match(self._rest, start)
        if begin is not None:
            self._rest, self._is_in_answer = self._rest[begin.end() :], True
        elif start < 0:
            self._is_over = len(self._rest) > MAX_HEAD_CHARACTERS
        else:
            self._is_over = len(self._rest) - start > MAX_BEGIN_CHARACTERS

    def _string(self) -> str:
        """Return the text of the JSON string so far. An incomplete escape waits for the next piece."""
        rest, position, parts = self._rest, 0, []
        while position < len(rest) and not self._is_over:
            plain = _PLAIN.match(rest, position)
            if plain is not None:
                parts.append(plain.group())
                position = plain.end()
            elif rest[position] == '"':
                self._is_over = True
            else:
                character, length = self._escape(rest, position)
                if not length:
                    break
                parts.append(character)
                position += length
        self._rest = rest[position:]
        return self._joined("".join(parts))

    def _escape(self, rest: str, position: int) -> tuple[str, int]:
        """Return the character of an escape and its length: 0 if it is incomplete."""
        kind = rest[position + 1 : position + 2]
        if kind == "u":
            digits = rest[position + 2 : position + _UNICODE_ESCAPE]
            if len(digits) < _UNICODE_ESCAPE - 2:
                return "", 0
            if re.fullmatch(r"[0-9a-fA-F]{4}", digits):
                return chr(int(digits, 16)), _UNICODE_ESCAPE
        elif not kind:
            return "", 0
        elif kind in _ESCAPES:
            return _ESCAPES[kind], 2
        self._is_over = True  # not JSON
        return "", 2

    def _joined(self, text: str) -> str:
        """Return a text with the half of a surrogate pair that came before. Its own half waits."""
        text, self._half = self._half + text, ""
        if text and "\ud800" <= text[-1] <= "\udbff" and not self._is_over:
            text, self._half = text[:-1], text[-1]
        return well_formed(text)

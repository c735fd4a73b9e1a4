"""Texts in expressions, with escapes and with expressions in them."""

import re
from collections.abc import Callable

from outlast.pipelines.jq import syntax
from outlast.pipelines.jq.tokens import ESCAPES, Tokens, joined_surrogates


class TextLiterals(Tokens):
    """Reads the texts of an expression."""

    def _text_literal(self, read: Callable[[], syntax.Node]) -> syntax.Node:
        """Read a text; the current token is its opening quote. `read` reads an expression in it."""
        parts: list[syntax.Node] = []
        letters: list[str] = []
        place = self._place
        while True:  # bounded by the size of the expression
            if place >= len(self._text):
                raise self._problem("a text has no closing quote")
            letter = self._text[place]
            place += 1
            if letter == '"':
                break
            if letter != "\\":
                letters.append(letter)
                continue
            escape = self._text[place : place + 1]
            place += 1
            if escape == "(":
                parts.append(syntax.Literal("".join(letters)))
                letters = []
                self._place = place
                self._advance()
                parts.append(read())
                if not self._is(")"):
                    raise self._problem(f"expected ')', not {self._shown()}")
                place = self._place
            elif escape == "u":
                letters.append(self._code_unit(place))
                place += 4
            elif escape in ESCAPES:
                letters.append(ESCAPES[escape])
            else:
                raise self._problem(f"unknown escape {escape!r} after a backslash")
        self._place = place
        self._advance()
        text = joined_surrogates("".join(letters))
        if not parts:
            return syntax.Literal(text)
        return syntax.Text((*parts, syntax.Literal(text)))

    def _code_unit(self, place: int) -> str:
        digits = self._text[place : place + 4]
        if not re.fullmatch(r"[0-9a-fA-F]{4}", digits):
            raise self._problem(r"\u needs four hexadecimal digits")
        return chr(int(digits, 16))

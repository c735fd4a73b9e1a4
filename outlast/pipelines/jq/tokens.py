"""The tokens of expressions, and where a parser is among them."""

import re

from outlast.text.texts import cut

MAX_QUOTED = 40
"""Bytes of an expression in a message about it."""

UNSUPPORTED = {
    **dict.fromkeys(("def", "reduce", "foreach", "label", "import", "include"), "is not supported"),
    **dict.fromkeys(
        ("now", "env", "input", "inputs", "debug", "stderr", "input_filename", "halt", "localtime"),
        "depends on more than its input, so a replay could differ",
    ),
    **dict.fromkeys(
        ("recurse", "while", "until", "repeat", "walk", "paths", "getpath", "del", "setpath"),
        "is not supported",
    ),
    **dict.fromkeys(
        ("test", "match", "capture", "scan", "sub", "gsub", "splits"),
        "uses regular expressions, which are not supported; see startswith, endswith, contains, split",
    ),
}
"""Names of jq that are rejected with a reason."""

_SPACE = re.compile(r"(?:\s+|#[^\n]*)*")
_TOKEN = re.compile(
    r"""(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)
    |(?P<field>\.[A-Za-z_]\w*)
    |(?P<variable>\$[A-Za-z_]\w*)
    |(?P<name>[A-Za-z_]\w*)
    |(?P<format>@\w+)
    |(?P<mark>\?//|\|=|\+=|-=|\*=|/=|%=|//=|//|==|!=|<=|>=|\.\.|[.\[\](){}|,:;?+\-*/%<>="=])""",
    re.VERBOSE | re.ASCII,
)
ESCAPES = {
    '"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t",
}  # fmt: skip


class SyntaxProblem(ValueError):
    """Raised for an expression that cannot be parsed."""


class Tokens:
    """Reads one expression token by token."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._place = 0
        self._kind = ""
        self._token = ""
        self._start = 0
        self._advance()

    def _advance(self) -> None:
        space = _SPACE.match(self._text, self._place)
        self._start = space.end() if space else self._place
        if self._start >= len(self._text):
            self._kind, self._token, self._place = "end", "", self._start
            return
        match = _TOKEN.match(self._text, self._start)
        if match is None:
            raise self._problem(f"unexpected {self._text[self._start]!r}")
        self._kind, self._token, self._place = match.lastgroup or "", match.group(), match.end()

    def _problem(self, reason: str) -> SyntaxProblem:
        return SyntaxProblem(
            f"{cut(self._text, MAX_QUOTED)!r}, character {self._start + 1}: {reason}"
        )

    def _is(self, *tokens: str) -> bool:
        return self._kind in ("mark", "name") and self._token in tokens

    def _take(self, token: str) -> bool:
        if not self._is(token):
            return False
        self._advance()
        return True

    def _expect(self, token: str) -> None:
        if not self._take(token):
            raise self._problem(f"expected {token!r}, not {self._shown()}")

    def _shown(self) -> str:
        return "the end" if self._kind == "end" else repr(self._token)


def joined_surrogates(text: str) -> str:
    r"""Return a text in which `\ud83d\ude00` is one character, and half a pair the replacement for it."""
    if text.isascii():
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def number_of(text: str) -> int | float:
    """Return the number that a text is. Raises `SyntaxProblem` if it is too large."""
    if text.isdecimal() and len(text) <= 17:
        return int(text)
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise SyntaxProblem(f"{text[:MAX_QUOTED]} is too large a number")
    return int(value) if value.is_integer() and abs(value) < 1e17 else value

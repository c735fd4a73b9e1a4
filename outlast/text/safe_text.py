r"""Untrusted text for a place where people read or copy it: one function for each kind of place.

Models, users, tools and starters write text that people read before they approve. In such text nothing is
active: no link, no markup, no terminal command, no mention. Nothing is hidden either: characters that
people cannot see, or take for others, appear as an escape such as `\u202e`. `decoded` is the inverse.

| place | function |
| --- | --- |
| JSON that a person compares and approves | `json_text` |
| text in a terminal, on the decision page, in a log | `visible`, `visible_line` |
| text around which the program writes more of the same line | `escaped` |
| Markdown of the Temporal UI | `code_span`, `code_block` |
| a summary in the Temporal UI, a notice in a chat tool | `summary_line`, `notice_line` |
| a word of a shell command | `shell_word` |
"""

import functools
import json
import re
import shlex
import unicodedata
from collections.abc import Iterator

from pydantic import JsonValue

CUT_MARK = "…"

MAX_MARKS = 4
"""Combining marks on one letter. Languages need at most three; more of them cover the text around."""

_INVISIBLE = frozenset(
    "\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0\U0001d159"
    + "".join(map(chr, (*range(0x180B, 0x1810), *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0))))
)
"""Characters that are blank in most fonts, although Python calls them printable."""

_OVERLAYS = frozenset(map(chr, (*range(0x0334, 0x0339), 0x0489, *range(0x20D0, 0x20F1))))
"""Marks that are drawn over a letter or a digit, so that it looks like another one."""

_LOOKALIKES = frozenset(
    "АВЕЅІЈКМНОРСТУХԌԚԜЗаеѕіјорсухԁԛԝһҮүӀѵΑΒΕΖΗΙΚΜΝΟΡΤΥΧϹϺανορτυχιγϲϳωᎪᎬᎫᎻᎾᏀᏃᏆᏒᏚᏞᏢօոսցզհև"
)
"""Letters of other scripts that look like Latin letters."""

_SCRIPTS_LIKE_LATIN = ("CYRILLIC", "GREEK", "ARMENIAN", "CHEROKEE", "COPTIC", "LISU")

_NOT_ASCII = re.compile(r"[^\x20-\x7e]")
_WORD = re.compile(r"\w+")
_LINE = re.compile(r"[^\n]+")
_ESCAPE = re.compile(r"\\(?:\\|n|r|t|x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8})")

_MARKUP = re.compile(
    r"[`<*]|~~|(?<=\])\(|(?<=\S):(?=//)|(?<=\b[Ww][Ww][Ww])\.|(?<=\bmailto):", re.IGNORECASE
)
"""The characters that make a link, an image, HTML or emphasis of Markdown."""

_MENTIONS = re.compile(_MARKUP.pattern + r"|[>@|&~#\[\]]|(?<=\w)\.(?=[^\W\d_]{2})", re.IGNORECASE)
"""The characters that make a mention, a link or emphasis in a chat tool. Bare domains are links there."""


def visible(text: str) -> str:
    """Return text of several lines in which people see each character; `decoded` returns the text."""
    return escaped(text.replace("\\", "\\\\"), keep="\n")


def visible_line(text: str, most_bytes: int | None = None) -> str:
    """Return text as one line in which people see each character; `…` marks a cut."""
    return cut_line(escaped(_start(text, most_bytes).replace("\\", "\\\\")), most_bytes)


def escaped(text: str, *, keep: str = "") -> str:
    """Return text with an escape for each character that people cannot see or take for another one.

    Backslashes stay as they are, so an escaped text can be escaped again without a change of its meaning.
    """
    if _NOT_ASCII.search(text) is None:
        return text
    unsafe = set(_unsafe_places(text))
    return "".join(
        _escape(letter) if place in unsafe and letter not in keep else letter
        for place, letter in enumerate(text)
    )


def json_text(value: JsonValue, *, indent: int | None = None, most: int | None = None) -> str:
    """Return JSON of a value in which people see each character. Parsed, it is the same value.

    With `most`, only the start of a longer text is escaped and returned, which no longer is JSON.
    """
    try:
        text = json.dumps(value, indent=indent, ensure_ascii=False)
    except RecursionError:  # with an indent, the encoder needs more of the stack
        text = json.dumps(value, ensure_ascii=False)
    if most is not None:
        text = text[: most + 1]
    if _NOT_ASCII.search(text) is None:
        return text
    unsafe = set(_unsafe_places(text))
    return "".join(
        json.dumps(letter)[1:-1] if place in unsafe and letter != "\n" else letter
        for place, letter in enumerate(text)
    )


def decoded(text: str) -> str:
    """Return the text that `visible`, `visible_line` or a summary shows, if it was not cut."""
    return _ESCAPE.sub(lambda escape: _unescaped(escape.group()), text)


def code_span(line: str) -> str:
    """Return a line of `visible_line` as a code span of Markdown, in which no markup or link works."""
    shown = escaped(line).replace("`", "\\u0060")
    return f"`{shown}`" if shown.strip() else "`(empty)`"


def code_block(text: str, language: str = "text", *, most: int) -> list[str]:
    """Return the lines of a code block of Markdown, with at most `most` characters of text.

    The text must be visible already: that of `visible`, `json_text` or `shell_word`.
    """
    shown = text.replace("`", "\\u0060")
    lines = (
        [shown]
        if len(shown) <= most
        else [shown[:most], f"{CUT_MARK} cut after {most:,} characters"]
    )
    return [f"```{language}", *lines, "```"]


def summary_line(line: str, most_bytes: int) -> str:
    """Return a line of `visible_line` as one that reads the same in plain text and in Markdown."""
    return _inert(line, _MARKUP, most_bytes)


def notice_line(line: str, most_bytes: int) -> str:
    """Return a line of `visible_line` without markup, links and mentions, for chat tools."""
    return _inert(line, _MENTIONS, most_bytes)


def shell_word(text: str) -> str:
    """Return text as one word of bash or zsh, in characters that people can see and copy."""
    if _NOT_ASCII.search(text) is None and "`" not in text:
        return shlex.quote(text)
    if "`" not in text and escaped(text) == text:
        return shlex.quote(text)
    letters = (
        _SHELL_ESCAPES.get(letter) or (_hex(letter) if ord(letter) < 0x10000 else _escape(letter))
        for letter in text
    )
    return "$'" + "".join(letters) + "'"


_SHELL_ESCAPES = {chr(code): chr(code) for code in range(0x20, 0x7F)} | {
    "\\": "\\\\",
    "'": "\\'",
    "`": "\\x60",
}


def _inert(line: str, markup: re.Pattern[str], most_bytes: int) -> str:
    shown = escaped(_start(line, most_bytes))
    return cut_line(markup.sub(lambda match: "".join(map(_hex, match.group())), shown), most_bytes)


def _start(text: str, most_bytes: int | None) -> str:
    """Return enough of a text: no character becomes less than one byte."""
    return text if most_bytes is None else text[: most_bytes + 1]


def cut_line(line: str, most_bytes: int | None) -> str:
    """Return at most `most_bytes` bytes of an escaped line; `…` marks a cut, which splits no escape."""
    encoded = line.encode(errors="replace")
    if most_bytes is None or len(encoded) <= most_bytes:
        return line
    start = encoded[: most_bytes - len(CUT_MARK.encode())].decode(errors="ignore")
    return _PARTIAL_ESCAPE.sub(r"\1", start) + CUT_MARK


_PARTIAL_ESCAPE = re.compile(r"(?<!\\)((?:\\\\)*)\\(?:x[0-9a-f]?|u[0-9a-f]{0,3}|U[0-9a-f]{0,7})?$")


def _unsafe_places(text: str) -> Iterator[int]:
    """Yield the places of the characters that people cannot see, or take for others."""
    marks = 0
    for place, letter in enumerate(text):
        if letter.isascii():
            marks = 0
            if not letter.isprintable():
                yield place
            continue
        marks = marks + 1 if unicodedata.combining(letter) else 0
        if _is_hidden(letter) or marks > MAX_MARKS:
            yield place
    for line in _LINE.finditer(text):
        if not line.group().isascii():
            yield from _misleading_places(line)


def _misleading_places(line: re.Match[str]) -> Iterator[int]:
    """Yield the letters of a line that look Latin, or that are shown in another order than they stand."""
    text = line.group()
    if any(map(str.isdigit, text)):
        for place, letter in enumerate(text):
            # Digits beside right-to-left letters change places on the screen.
            if unicodedata.bidirectional(letter) in ("R", "AL"):
                yield line.start() + place
    foreign = [letter for letter in text if _is_like_latin_script(letter)]
    looks_latin = all(letter in _LOOKALIKES for letter in foreign)
    for word in _WORD.finditer(text) if foreign else ():
        letters = word.group()
        is_mixed = looks_latin or any(map(_is_latin, letters))
        has_digits = any(map(str.isdigit, letters))
        for place, letter in enumerate(letters):
            if not _is_like_latin_script(letter):
                continue
            if is_mixed or (has_digits and letter in _LOOKALIKES):
                yield line.start() + word.start() + place


@functools.lru_cache(maxsize=4_096)
def _is_hidden(letter: str) -> bool:
    """Tell whether a character is invisible, or looks like an ASCII character."""
    if not letter.isprintable() or letter in _INVISIBLE or letter in _OVERLAYS:
        return True
    if ord(letter) < 0x100:
        return False
    plain = unicodedata.normalize("NFKC", letter)
    return letter.isdecimal() or (len(plain) == 1 and plain.isascii())


@functools.lru_cache(maxsize=4_096)
def _is_like_latin_script(letter: str) -> bool:
    """Tell whether a letter belongs to a script that shares letter forms with Latin."""
    if letter.isascii() or not letter.isalpha():
        return False
    return unicodedata.name(letter, "").partition(" ")[0] in _SCRIPTS_LIKE_LATIN


@functools.lru_cache(maxsize=4_096)
def _is_latin(letter: str) -> bool:
    return letter.isalpha() and unicodedata.name(letter, "").startswith("LATIN")


def _escape(letter: str) -> str:
    return letter.encode("unicode_escape", "surrogatepass").decode()


def _hex(letter: str) -> str:
    return f"\\u{ord(letter):04x}"


def _unescaped(escape: str) -> str:
    known = {"\\\\": "\\", "\\n": "\n", "\\r": "\r", "\\t": "\t"}
    return known.get(escape) or chr(int(escape[2:], 16))

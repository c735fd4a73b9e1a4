r"""Parse trees of regular expressions, from the syntax that ECMA-262, Python and Rust share.

A tree is printed again in the dialect of the engine that uses it. So `\/`, `[\w\-]` and `(?<name>a)` have
one meaning in all engines.
"""

import functools
import re
from dataclasses import dataclass

from pydantic_core import SchemaError, SchemaValidator, core_schema

MAX_PATTERN = 2_000
"""Characters of a pattern: the parser is recursive, and engines compile the pattern."""

MAX_GROUPS = 50
"""Groups inside of each other in a pattern: all parsers and engines are recursive."""

MAX_REPEAT = 100_000
"""The largest counted repeat of a pattern. A longer text is not read by an engine anyway."""

_LAST_CHARACTER = 0x10FFFF
_CONTROLS = {"t": 9, "n": 10, "v": 11, "f": 12, "r": 13, "a": 7}
_CATEGORIES = "dDwWsS"
_HEX_DIGITS = {"x": 2, "u": 4, "U": 8}
_SURROGATES = range(0xD800, 0xE000)
_FLAGS = re.compile(r"\?([imsu]*)(-[imsu]+)?([:)])")
_COUNTS = re.compile(r"\{([0-9]{1,9})(,([0-9]{0,9}))?\}|\{(),([0-9]{1,9})\}")
_NAME = re.compile(r"\?P?<([A-Za-z_][A-Za-z0-9_.$]*)>")
_PROPERTY = re.compile(r"\{\^?[A-Za-z0-9_ =:&.-]{1,60}\}|[A-Z]")
_LOOKS = {"?=": (True, False), "?!": (True, True), "?<=": (False, False), "?<!": (False, True)}


@dataclass(frozen=True)
class Literal:
    """One character."""

    code: int


@dataclass(frozen=True)
class Characters:
    r"""One character of a set: ranges of code points, and categories such as `\d` or `\p{L}`."""

    ranges: tuple[tuple[int, int], ...]
    categories: tuple[str, ...] = ()
    negated: bool = False


@dataclass(frozen=True)
class Dot:
    """Any character but a line feed."""


@dataclass(frozen=True)
class Anchor:
    r"""A position: `^`, `$`, `\A`, `\z`, `\b` or `\B`."""

    text: str


@dataclass(frozen=True)
class Sequence:
    """Parts that follow each other."""

    parts: tuple["Node", ...]


@dataclass(frozen=True)
class Alternatives:
    """Parts; one of them matches."""

    parts: tuple["Node", ...]


@dataclass(frozen=True)
class Repeat:
    """A part that repeats; `most` is None without a limit."""

    part: "Node"
    least: int
    most: int | None
    lazy: bool = False


@dataclass(frozen=True)
class Flags:
    """A part with flags such as `i`."""

    part: "Node"
    flags: str


@dataclass(frozen=True)
class Look:
    """A condition on what follows, or on what comes before."""

    part: "Node"
    ahead: bool
    negated: bool


Node = Literal | Characters | Dot | Anchor | Sequence | Alternatives | Repeat | Flags | Look


class PatternError(ValueError):
    """Says why a pattern cannot be used."""


@functools.lru_cache(maxsize=256)
def parse_pattern(pattern: str) -> Node:
    """Return the tree of a pattern. Raises `PatternError` with the reason and the place."""
    if len(pattern) > MAX_PATTERN:
        raise PatternError(f"it is longer than {MAX_PATTERN:,} characters")
    return _Parser(pattern).parse()


class _Parser:
    def __init__(self, pattern: str) -> None:
        self._text = pattern
        self._at = 0
        self._depth = 0

    def parse(self) -> Node:
        node = self._alternatives()
        if self._at < len(self._text):
            raise self._error("unbalanced parenthesis")
        return node

    def _error(self, reason: str) -> PatternError:
        return PatternError(f"{reason} at position {self._at}")

    def _next(self) -> str:
        return self._text[self._at : self._at + 1]

    def _take(self, text: str) -> bool:
        if not self._text.startswith(text, self._at):
            return False
        self._at += len(text)
        return True

    def _alternatives(self) -> Node:
        parts = [self._sequence()]
        while self._take("|"):
            parts.append(self._sequence())
        return parts[0] if len(parts) == 1 else Alternatives(tuple(parts))

    def _sequence(self) -> Node:
        parts: list[Node] = []
        while self._next() not in ("", "|", ")"):
            flags = _FLAGS.match(self._text, self._at + 1) if self._next() == "(" else None
            if flags and flags[3] == ")":  # the flags hold up to the end of the group
                self._at = flags.end()
                self._deeper()
                parts.append(Flags(self._alternatives(), flags[1] + (flags[2] or "")))
                self._depth -= 1
                break
            parts.append(self._repeated(self._atom()))
        return parts[0] if len(parts) == 1 else Sequence(tuple(parts))

    def _repeated(self, atom: Node) -> Node:
        counts = self._counts()
        if counts is None:
            return atom
        if isinstance(atom, Anchor | Look):
            raise self._error("nothing to repeat")
        least, most = counts
        if most is not None and least > most:
            raise self._error("the repeat's minimum is above its maximum")
        if max(least, most or 0) > MAX_REPEAT:
            raise self._error(f"a repeat above {MAX_REPEAT:,}")
        lazy = self._take("?")
        if self._next() == "+" or self._counts() is not None:
            raise self._error("a repeat of a repeat")
        return Repeat(atom, least, most, lazy)

    def _counts(self) -> tuple[int, int | None] | None:
        for sign, counts in (("*", (0, None)), ("+", (1, None)), ("?", (0, 1))):
            if self._take(sign):
                return counts
        found = _COUNTS.match(self._text, self._at)
        if found is None:
            return None
        self._at = found.end()
        if found[1] is None:
            return 0, int(found[5])  # as in Python: {,3} is {0,3}
        least = int(found[1])
        return (least, least if found[2] is None else int(found[3]) if found[3] else None)

    def _atom(self) -> Node:
        character = self._text[self._at]
        if character in "*+?":
            raise self._error("nothing to repeat")
        if character == "{" and _COUNTS.match(self._text, self._at):
            raise self._error("nothing to repeat")
        self._at += 1
        if character == "(":
            return self._group()
        if character == "[":
            return self._class()
        if character == "\\":
            return self._escape()
        if character in "^$":
            return Anchor(character)
        return Dot() if character == "." else _literal(ord(character))

    def _group(self) -> Node:
        self._deeper()
        node = self._group_content()
        if not self._take(")"):
            raise self._error("unterminated group")
        self._depth -= 1
        return node

    def _deeper(self) -> None:
        self._depth += 1
        if self._depth > MAX_GROUPS:
            raise self._error(f"groups nested deeper than {MAX_GROUPS}")

    def _group_content(self) -> Node:
        for sign, (ahead, negated) in _LOOKS.items():
            if self._take(sign):
                return Look(self._alternatives(), ahead, negated)
        named = _NAME.match(self._text, self._at)
        flags = _FLAGS.match(self._text, self._at)
        if named:
            self._at = named.end()
        elif flags:
            self._at = flags.end()
            node = self._alternatives()
            text = flags[1] + (flags[2] or "")
            return Flags(node, text) if text else node
        elif self._next() == "?":
            raise self._error(f"unknown group ({self._text[self._at : self._at + 2]}")
        return self._alternatives()

    def _escape(self) -> Node:
        character = self._next()
        if character in ("b", "B", "A", "z", "Z"):
            self._at += 1
            text = "\\z" if character in "zZ" else f"\\{character}"
            return Anchor(text)
        item = self._escaped_item()
        return Characters((), (item,)) if isinstance(item, str) else _literal(item)

    def _escaped_item(self) -> int | str:  # noqa: PLR0911 one for each kind of escape
        """Return the code point or the category of an escape, without its backslash."""
        character = self._next()
        if character == "":
            raise self._error("a backslash at the end")
        self._at += 1
        if character in _CATEGORIES:
            return f"\\{character}"
        if character in ("p", "P"):
            return self._property(character)
        if character in _CONTROLS:
            return _CONTROLS[character]
        if character in _HEX_DIGITS:
            return self._code(_HEX_DIGITS[character])
        if character == "0" and not self._next().isdigit():
            return 0
        if character == "c" and re.match("[A-Za-z]", self._next()):
            self._at += 1
            return ord(self._text[self._at - 1]) % 32
        if character.isdigit() or character == "k":
            raise self._error("a back reference, which no linear engine can match,")
        if character.isascii() and character.isalpha():
            raise self._error(f"unknown escape \\{character}")
        return ord(character)

    def _property(self, sign: str) -> str:
        found = _PROPERTY.match(self._text, self._at)
        if found is None:
            raise self._error(f"\\{sign} without the name of a class")
        self._at = found.end()
        category = f"\\{sign}{found[0]}"
        if not _is_known_category(category):
            raise self._error(f"unknown character class {category}")
        return category

    def _code(self, digits: int) -> int:
        found = re.compile(rf"\{{([0-9A-Fa-f]{{1,8}})\}}|([0-9A-Fa-f]{{{digits}}})").match(
            self._text, self._at
        )
        if found is None:
            raise self._error("an incomplete escape")
        self._at = found.end()
        code = int(found[1] or found[2], 16)
        second = re.compile(r"\\u([dD][c-fC-F][0-9A-Fa-f]{2})").match(self._text, self._at)
        if second and 0xD800 <= code < 0xDC00:  # the halves of one character
            self._at = second.end()
            code = 0x10000 + (code - 0xD800) * 0x400 + int(second[1], 16) - 0xDC00
        if code > _LAST_CHARACTER:
            raise self._error("no character has this code")
        return code

    def _class(self) -> Node:
        negated = self._take("^")
        ranges: list[tuple[int, int]] = []
        categories: list[str] = []
        first = True
        while first or self._next() != "]":
            if self._next() == "":
                raise self._error("unterminated character set")
            first = False
            low = self._class_item()
            if self._next() == "-" and self._text[self._at + 1 : self._at + 2] not in ("]", ""):
                self._at += 1
                high = self._class_item()
                if isinstance(low, str) or isinstance(high, str):
                    # As in ECMA-262: a hyphen beside a category is a hyphen.
                    for item in (low, ord("-"), high):
                        _add(item, ranges, categories)
                    continue
                if low > high:
                    raise self._error("a range with its end before its start")
                ranges.append((low, high))
            else:
                _add(low, ranges, categories)
        self._at += 1
        return Characters(tuple(_without_surrogates(ranges)), tuple(categories), negated)

    def _class_item(self) -> int | str:
        if self._take("\\"):
            if self._take("b"):
                return 8
            return self._escaped_item()
        self._at += 1
        return ord(self._text[self._at - 1])


def _add(item: int | str, ranges: list[tuple[int, int]], categories: list[str]) -> None:
    if isinstance(item, str):
        categories.append(item)
    else:
        ranges.append((item, item))


def _literal(code: int) -> Node:
    return Characters((), ()) if code in _SURROGATES else Literal(code)


def _without_surrogates(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Leave out half characters, which no text contains."""
    kept: list[tuple[int, int]] = []
    for low, high in ranges:
        if low < _SURROGATES.start:
            kept.append((low, min(high, _SURROGATES.start - 1)))
        if high >= _SURROGATES.stop:
            kept.append((max(low, _SURROGATES.stop), high))
    return kept


@functools.lru_cache(maxsize=256)
def _is_known_category(category: str) -> bool:
    try:
        SchemaValidator(core_schema.str_schema(pattern=category, regex_engine="rust-regex"))
    except SchemaError:
        return False
    return True

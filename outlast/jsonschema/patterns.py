"""Matching of regular expressions in linear time, with limits on time and memory.

All patterns are matched by Rust's `regex`, through pydantic: it takes linear time, and pydantic's own types
use it. Look-arounds at the beginning of a pattern are matched as patterns of their own. Other look-arounds
and back references are rejected, because only engines that take exponential time can match them.
"""

import functools
from dataclasses import dataclass

from pydantic_core import SchemaError, SchemaValidator, core_schema

from outlast.jsonschema.pattern_syntax import (
    Alternatives,
    Anchor,
    Characters,
    Dot,
    Flags,
    Literal,
    Look,
    Node,
    PatternError,
    Repeat,
    Sequence,
    parse_pattern,
)
from outlast.weighed_cache import WeighedCache

MAX_COMPILED_BYTES = 8_000_000
"""The estimated size of one compiled pattern. Rust's own limit is 10 MB."""

_LARGE_BYTES = 200_000
"""From this estimated size on, a long repeat of one character becomes a limit of the length."""

MAX_CACHED_BYTES = 32_000_000
"""The estimated size of all compiled patterns that a process keeps."""

MAX_CACHED_PATTERNS = 64
"""Compiled patterns that a process keeps: while it matches, each can use 2 MB more."""

_LITERAL_BYTES = 100
_RANGE_BYTES = 150
_WIDE_BYTES = 1_400
_CATEGORY_BYTES = {"\\d": 5_500, "\\D": 5_500, "\\s": 800, "\\S": 1_400}
_PROPERTY_BYTES = 70_000
_MOST = 10**12
_SPECIAL = frozenset("\\.+*?()|[]{}^$#&-~")


@dataclass(frozen=True)
class Size:
    """The estimated size of a compiled pattern."""

    bytes: int
    """Memory."""

    positions: int
    """Places in the pattern: matching a text takes at most this number times its length."""


@dataclass(frozen=True)
class _Choice:
    """Conditions that hold together: patterns with whether they match, and limits of the length."""

    conditions: tuple[tuple[str, bool], ...]
    least: int = 0
    most: int | None = None


@dataclass(frozen=True)
class Pattern:
    """A pattern that is ready to match."""

    choices: tuple[_Choice, ...]
    size: Size

    def compiled(self) -> "Matcher":
        """Return the pattern in its compiled form. Raises `PatternError` if an engine refuses it."""
        return Matcher(
            tuple(
                (
                    tuple(
                        (_compiled(regex, self.size), wanted) for regex, wanted in choice.conditions
                    ),
                    choice.least,
                    choice.most,
                )
                for choice in self.choices
            )
        )


@dataclass(frozen=True)
class Matcher:
    """A compiled pattern: choices of conditions and of limits of the length."""

    choices: tuple[tuple[tuple[tuple[SchemaValidator, bool], ...], int, int | None], ...]

    def matches(self, text: str) -> bool:
        """Return whether the pattern occurs in a text."""
        return any(
            len(text) >= least
            and (most is None or len(text) <= most)
            and all(regex.isinstance_python(text) is wanted for regex, wanted in conditions)
            for conditions, least, most in self.choices
        )


@functools.lru_cache(maxsize=512)
def pattern_of(pattern: str) -> Pattern:
    """Return a pattern that matches in linear time.

    Raises `PatternError` if it is not a regular expression, or if no linear engine can match it. Nothing
    is compiled yet.
    """
    tree = parse_pattern(pattern)
    parts = tree.parts if isinstance(tree, Alternatives) else (tree,)
    sizes: list[Size] = []
    plain = Alternatives(parts)
    if not _has_look(plain):
        size = _size(plain)
        if size.bytes <= _LARGE_BYTES:
            return Pattern((_Choice(((printed(tree), True),)),), size)
    choices = tuple(_choice(part, sizes) for part in parts)
    total = Size(sum(size.bytes for size in sizes), sum(size.positions for size in sizes))
    if total.bytes > MAX_COMPILED_BYTES:
        raise PatternError(
            "its repeats make it too large to compile; use maxLength, or a smaller set of characters"
        )
    return Pattern(choices, total)


def _choice(part: Node, sizes: list[Size]) -> _Choice:
    """Divide `^(?=a)(?!b)c` into the patterns `^a`, `^b` and `^c`."""
    parts = part.parts if isinstance(part, Sequence) else (part,)
    conditions: list[tuple[Node, bool]] = []
    rest = list(parts)
    while len(rest) > 1 and isinstance(rest[0], Anchor) and isinstance(rest[1], Look):
        look = rest.pop(1)
        if not isinstance(look, Look) or not look.ahead or rest[0].text not in ("^", "\\A"):
            raise PatternError(_LOOK)
        conditions.append((Sequence((rest[0], look.part)), not look.negated))
    least, most = 0, None
    whole: Node = Sequence(tuple(rest))
    if _size(whole).bytes > _LARGE_BYTES:
        whole, least, most = _with_lengths(rest)
    for node in (whole, *(node for node, _ in conditions)):
        if _has_look(node):
            raise PatternError(_LOOK)
        sizes.append(_size(node))
    nodes = [(whole, True), *conditions]
    return _Choice(tuple((printed(node), wanted) for node, wanted in nodes), least, most)


_LOOK = "a look-around, which no linear engine can match, may only stand at the beginning, as in '^(?!x)y'"


def _with_lengths(parts: list[Node]) -> tuple[Node, int, int | None]:
    r"""Return `^a\w*$` and limits of the length for `^a\w{1,500}$`, which is too large to compile."""
    large = max(range(len(parts)), key=lambda index: _size(parts[index]).bytes)
    repeat = parts[large]
    whole = parts and parts[0] in (Anchor("^"), Anchor("\\A"))
    whole = whole and parts[-1] in (Anchor("$"), Anchor("\\z"))
    widths = [_width(part) for index, part in enumerate(parts) if index != large]
    if not whole or not isinstance(repeat, Repeat) or _width(repeat.part) != 1 or None in widths:
        return Sequence(tuple(parts)), 0, None
    beside = sum(width for width in widths if width is not None)
    least = min(repeat.least, 1)
    open_ended = Repeat(repeat.part, least, None, repeat.lazy)
    most = None if repeat.most is None else repeat.most + beside
    together = (*parts[:large], open_ended, *parts[large + 1 :])
    return Sequence(together), repeat.least + beside, most


def _width(node: Node) -> int | None:
    """Return the number of characters that a node matches, or None if it varies."""
    if isinstance(node, Literal | Characters | Dot):
        return 1
    if isinstance(node, Anchor):
        return 0
    if isinstance(node, Sequence):
        widths = [_width(part) for part in node.parts]
        return None if None in widths else sum(width for width in widths if width is not None)
    if isinstance(node, Alternatives):
        several = {_width(part) for part in node.parts}
        return several.pop() if len(several) == 1 else None
    if isinstance(node, Repeat) and node.least == node.most:
        width = _width(node.part)
        return None if width is None else width * node.least
    return _width(node.part) if isinstance(node, Flags) else None


def _has_look(node: Node) -> bool:
    if isinstance(node, Sequence | Alternatives):
        return any(_has_look(part) for part in node.parts)
    return isinstance(node, Look) or (isinstance(node, Repeat | Flags) and _has_look(node.part))


def _size(node: Node) -> Size:
    if isinstance(node, Sequence | Alternatives):
        sizes = [_size(part) for part in node.parts]
        return Size(
            sum(size.bytes for size in sizes) + _LITERAL_BYTES,
            sum(size.positions for size in sizes) + 1,
        )
    if isinstance(node, Repeat):
        size = _size(node.part)
        times = max(node.least + (node.most is None), node.most or 1, 1)
        return Size(min(size.bytes * times, _MOST), min(size.positions * times, _MOST))
    if isinstance(node, Flags):
        size = _size(node.part)
        return Size(min(size.bytes * 4, _MOST), size.positions)
    if isinstance(node, Look):
        return _size(node.part)
    return Size(_atom_bytes(node), 1)


def _atom_bytes(node: Node) -> int:
    if isinstance(node, Dot):
        return _WIDE_BYTES
    if not isinstance(node, Characters):
        return _LITERAL_BYTES
    wide = node.negated or any(high > 0x7F for _, high in node.ranges)
    categories = sum(_CATEGORY_BYTES.get(name, _PROPERTY_BYTES) for name in node.categories)
    return _RANGE_BYTES * (1 + len(node.ranges)) + (_WIDE_BYTES if wide else 0) + categories


def printed(node: Node) -> str:  # noqa: PLR0911 one for each kind of node
    """Return a tree as a pattern for Rust's `regex`. Groups do not capture."""
    if isinstance(node, Literal):
        return _character(node.code)
    if isinstance(node, Characters):
        return _set(node)
    if isinstance(node, Dot):
        return "."
    if isinstance(node, Anchor):
        return node.text
    if isinstance(node, Sequence):
        return "".join(
            f"(?:{printed(part)})" if isinstance(part, Alternatives) else printed(part)
            for part in node.parts
        )
    if isinstance(node, Alternatives):
        return "|".join(printed(part) for part in node.parts)
    if isinstance(node, Flags):
        return f"(?{node.flags}:{printed(node.part)})"
    if isinstance(node, Look):
        raise PatternError(_LOOK)
    return _repeated(node)


def _repeated(node: Repeat) -> str:
    part = printed(node.part)
    if not isinstance(node.part, Literal | Characters | Dot):
        part = f"(?:{part})"
    most = "" if node.most is None else node.most
    count = f"{{{node.least}}}" if node.least == node.most else f"{{{node.least},{most}}}"
    return part + count + ("?" if node.lazy else "")


def _character(code: int) -> str:
    text = chr(code)
    if text in _SPECIAL:
        return f"\\{text}"
    return text if text.isprintable() and code < 0x7F else f"\\x{{{code:X}}}"


def _set(node: Characters) -> str:
    if not node.ranges and not node.categories:
        return "[\\s\\S]" if node.negated else "[^\\s\\S]"
    ranges = "".join(
        _character(low) if low == high else f"{_character(low)}-{_character(high)}"
        for low, high in node.ranges
    )
    return f"[{'^' if node.negated else ''}{ranges}{''.join(node.categories)}]"


def _compiled(regex: str, size: Size) -> SchemaValidator:
    return _CACHE.get_or_make(regex, lambda: (_new_matcher(regex), size.bytes))


def _new_matcher(regex: str) -> SchemaValidator:
    try:
        return SchemaValidator(core_schema.str_schema(pattern=regex, regex_engine="rust-regex"))
    except SchemaError as error:
        reason = str(error).strip().splitlines()[-1].strip()
        raise PatternError(f"it cannot be compiled: {reason}") from None


_CACHE: WeighedCache[str, SchemaValidator] = WeighedCache(
    max_bytes=MAX_CACHED_BYTES, max_entries=MAX_CACHED_PATTERNS
)

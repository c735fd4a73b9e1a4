r"""Patterns that a decoding engine interprets as the check does, printed from their parse tree.

Engines that do not know Rust's syntax get plain sets such as `[0-9_]`, with no escape in them, and groups.
They match the JSON of a string, in which a quote, a backslash and a control character are escaped. So a
pattern with a set that has one of these is left to the check.
"""

from collections.abc import Collection

from outlast.jsonschema.pattern_syntax import (
    Alternatives,
    Anchor,
    Characters,
    Dot,
    Literal,
    Node,
    PatternError,
    Repeat,
    Sequence,
    parse_pattern,
)
from outlast.jsonschema.patterns import pattern_of, printed

MAX_REPEATS = 100
"""The largest counted repeat in a pattern. xgrammar 0.2.8 fails from 129 on."""

MAX_NESTED_REPEATS = 10
"""The largest repeat of a part that has an unlimited repeat. llguidance fails in mid-answer above."""

_PLAIN_CATEGORIES = {
    "\\d": ((0x30, 0x39),),
    "\\w": ((0x30, 0x39), (0x41, 0x5A), (0x5F, 0x5F), (0x61, 0x7A)),
}
_ESCAPED_OUTSIDE = frozenset("^$.[]()|{}*+?")
_ESCAPED_IN_JSON = frozenset('"\\')


def portable_pattern(pattern: str) -> str | None:
    """Return a pattern for an engine that matches the whole JSON of a string, or None."""
    try:
        tree = parse_pattern(pattern)
        return f"^{_plain(_inner(tree))}$"
    except PatternError:
        return None


def rust_pattern(pattern: str) -> str | None:
    """Return a pattern for an engine with Rust's syntax that searches in the text itself, or None."""
    try:
        tree = parse_pattern(pattern)
        pattern_of(pattern)
        if not _is_simple(_inner_or_whole(tree)):
            return None
        return printed(tree)
    except PatternError:
        return None


def repeats_group(pattern: str) -> bool:
    """Return whether a pattern repeats more than single characters: llguidance fails with a length then."""
    try:
        return _repeats_group(parse_pattern(pattern))
    except PatternError:
        return True


def _repeats_group(node: Node) -> bool:
    if isinstance(node, Repeat):
        return not isinstance(node.part, Literal | Characters | Dot)
    parts = node.parts if isinstance(node, Sequence | Alternatives) else ()
    return any(_repeats_group(part) for part in parts)


def _inner(tree: Node) -> Node:
    """Return what stands between `^` and `$`. Raises `PatternError` if the pattern has not both."""
    parts = tree.parts if isinstance(tree, Sequence) else ()
    if len(parts) < 2 or parts[0] != Anchor("^") or parts[-1] != Anchor("$"):
        raise PatternError("it does not match the whole text")
    return Sequence(parts[1:-1])


def _inner_or_whole(tree: Node) -> Node:
    try:
        return _inner(tree)
    except PatternError:
        return tree


def _is_simple(node: Node) -> bool:
    """Return whether llguidance can compile a pattern without looking at anchors or flags inside of it."""
    if isinstance(node, Sequence | Alternatives):
        return all(_is_simple(part) for part in node.parts)
    if isinstance(node, Repeat):
        if max(node.least, node.most or 0) > MAX_REPEATS:
            return False
        many = node.most is not None and node.most > MAX_NESTED_REPEATS
        return _is_simple(node.part) and not (many and _is_unlimited(node.part))
    return isinstance(node, Literal | Characters | Dot)


def _is_unlimited(node: Node) -> bool:
    if isinstance(node, Sequence | Alternatives):
        return any(_is_unlimited(part) for part in node.parts)
    return isinstance(node, Repeat) and (node.most is None or _is_unlimited(node.part))


def _plain(node: Node) -> str:
    if isinstance(node, Literal):
        return _literal(node.code)
    if isinstance(node, Characters):
        return _set(node)
    if isinstance(node, Sequence):
        return "".join(_plain(part) for part in node.parts)
    if isinstance(node, Alternatives):
        return f"({'|'.join(_plain(part) for part in node.parts)})"
    if isinstance(node, Repeat):
        return _repeat(node)
    raise PatternError(f"a part of the kind {type(node).__name__} is not portable")


def _repeat(node: Repeat) -> str:
    if max(node.least, node.most or 0) > MAX_REPEATS:
        raise PatternError("a repeat is too large")
    part = _plain(node.part)
    if not isinstance(node.part, Characters | Alternatives):
        part = f"({part})"
    counts = {(0, None): "*", (1, None): "+", (0, 1): "?"}
    count = counts.get((node.least, node.most))
    if count is None:
        most = "" if node.most is None else node.most
        count = f"{{{node.least}}}" if node.least == node.most else f"{{{node.least},{most}}}"
    return part + count


def _literal(code: int) -> str:
    text = chr(code)
    if code < 0x20 or text in _ESCAPED_IN_JSON:
        raise PatternError("JSON writes a character with an escape")
    return f"\\{text}" if text in _ESCAPED_OUTSIDE else text


def _set(node: Characters) -> str:
    if node.negated or any(name not in _PLAIN_CATEGORIES for name in node.categories):
        raise PatternError("a set is not plain")
    ranges = [*node.ranges]
    for name in node.categories:
        ranges.extend(_PLAIN_CATEGORIES[name])
    if not ranges or any(low < 0x20 or _holds(low, high, _ESCAPED_IN_JSON) for low, high in ranges):
        raise PatternError("JSON writes a character with an escape")
    # No engine reads all escapes in a set. So brackets and `^` are parts of their own, `-` is the last one.
    apart = [sign for sign in "[]^" if any(_holds(low, high, {sign}) for low, high in ranges)]
    hyphen = "-" if any(_holds(low, high, {"-"}) for low, high in ranges) else ""
    for sign in "[]^-":
        ranges = _without(ranges, ord(sign))
    inside = "".join(_range(low, high) for low, high in ranges)
    parts = [f"[{inside}{hyphen}]" if inside else hyphen, *(f"\\{sign}" for sign in apart)]
    parts = [part for part in parts if part]
    return parts[0] if inside and not apart else f"({'|'.join(parts)})"


def _range(low: int, high: int) -> str:
    return chr(low) if low == high else f"{chr(low)}-{chr(high)}"


def _holds(low: int, high: int, characters: Collection[str]) -> bool:
    return any(low <= ord(character) <= high for character in characters)


def _without(ranges: list[tuple[int, int]], code: int) -> list[tuple[int, int]]:
    kept: list[tuple[int, int]] = []
    for low, high in ranges:
        parts = [(low, code - 1), (code + 1, high)] if low <= code <= high else [(low, high)]
        kept.extend((start, end) for start, end in parts if start <= end)
    return kept

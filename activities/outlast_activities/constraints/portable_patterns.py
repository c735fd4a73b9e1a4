"""Regular expressions that decoding engines and Python read alike."""

import re
import warnings
from collections.abc import Iterator

# Python's own parser, which is private: another parser of its dialect would differ in details.
from re import _constants, _parser  # type: ignore[attr-defined]
from typing import Any

MAX_REPEATS = 100
"""Counted repeats in a pattern: xgrammar 0.2.8 fails from 129 on."""

_PLAIN_FLAGS = re.UNICODE
_READABLE = ("LITERAL", "NOT_LITERAL", "IN", "ANY", "BRANCH", "SUBPATTERN", "MAX_REPEAT")


def is_portable(pattern: str, *, anchored: bool, escaped: bool, classes: bool) -> bool:
    """Tell whether an engine reads a pattern as Python does: only what all of them have in common.

    `anchored`: it takes a pattern for the whole text; `escaped`: it matches the text and not its JSON;
    `classes`: it knows those that are written as a backslash and a letter.
    """
    try:
        with warnings.catch_warnings(action="ignore", category=FutureWarning):
            tree: Any = _parser.parse(pattern)
    except (re.error, RecursionError, OverflowError):
        return False
    whole = _is_whole(tree)
    if (anchored and not whole) or tree.state.flags != _PLAIN_FLAGS:
        return False
    return all(
        _is_plain(item, escaped=escaped, classes=classes)
        for item in _items(tree[1:-1] if whole else tree)
    )


def _is_whole(tree: Any) -> bool:
    first, last = (tree[0], tree[-1]) if len(tree) > 1 else (None, None)
    return first == (_constants.AT, _constants.AT_BEGINNING) and last == (
        _constants.AT,
        _constants.AT_END,
    )


def _items(items: Any) -> Iterator[Any]:
    waiting = [items]
    while waiting:
        for item in waiting.pop():
            yield item
            operation, argument = str(item[0]), item[1]
            if operation == "BRANCH":
                waiting.extend(argument[1])
            elif operation in ("SUBPATTERN", "MAX_REPEAT"):
                waiting.append(argument[-1])


def _is_plain(item: Any, *, escaped: bool, classes: bool) -> bool:
    operation, argument = str(item[0]), item[1]
    if operation not in _READABLE:
        return False
    if operation == "SUBPATTERN":
        return not argument[1] and not argument[2]
    if operation == "MAX_REPEAT":
        return all(count <= MAX_REPEATS for count in argument[:2] if str(count) != "MAXREPEAT")
    if operation == "LITERAL":
        # These are written with a backslash in JSON, which is not what xgrammar and outlines match.
        return escaped or (argument >= ord(" ") and chr(argument) not in '"\\')
    if operation == "IN" and not classes:
        return not any(str(kind) == "CATEGORY" for kind, _ in argument)
    return True

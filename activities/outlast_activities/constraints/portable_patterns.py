"""Regular expressions that decoding engines and Python interpret in the same way."""

import re
import warnings
from collections.abc import Iterator

# Python's own parser, which is private: another parser of its dialect would differ in details.
from re import _constants, _parser  # type: ignore[attr-defined]
from typing import Any

MAX_REPEATS = 100
"""The largest counted repeat in a pattern. xgrammar 0.2.8 fails from 129 on."""

_PLAIN_FLAGS = re.UNICODE
_PORTABLE_OPERATIONS = ("LITERAL", "NOT_LITERAL", "IN", "ANY", "BRANCH", "SUBPATTERN", "MAX_REPEAT")


def is_portable(pattern: str, *, anchored: bool, escaped: bool, classes: bool) -> bool:
    r"""Return whether an engine interprets a pattern as Python does.

    `anchored`: the engine matches the whole string. `escaped`: it matches the string and not its JSON.
    `classes`: it knows classes such as `\d`.
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
    stack = [items]
    while stack:
        for item in stack.pop():
            yield item
            operation, argument = str(item[0]), item[1]
            if operation == "BRANCH":
                stack.extend(argument[1])
            elif operation in ("SUBPATTERN", "MAX_REPEAT"):
                stack.append(argument[-1])


def _is_plain(item: Any, *, escaped: bool, classes: bool) -> bool:
    operation, argument = str(item[0]), item[1]
    if operation not in _PORTABLE_OPERATIONS:
        return False
    if operation == "SUBPATTERN":
        return not argument[1] and not argument[2]
    if operation == "MAX_REPEAT":
        return all(count <= MAX_REPEATS for count in argument[:2] if str(count) != "MAXREPEAT")
    if operation == "LITERAL":
        # JSON writes these with a backslash, which xgrammar and outlines do not match.
        return escaped or (argument >= ord(" ") and chr(argument) not in '"\\')
    if operation == "IN" and not classes:
        return not any(str(kind) == "CATEGORY" for kind, _ in argument)
    return True

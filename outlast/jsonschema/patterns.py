"""Regular expressions of schemas: which texts they could match, told from their structure."""

import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace

# Python's own parser, private but always there (before 3.11 as sre_parse): a second parser of its dialect
# would be wrong in corners, and what is not recognised here is taken as possible.
from re import _constants, _parser  # type: ignore[attr-defined]
from typing import Any

MAX_PATTERN = 2_000
"""Characters of a pattern: engines compile it into an automaton, and the parser recurses into it."""

_ONE_CHARACTER = ("LITERAL", "NOT_LITERAL", "ANY", "IN", "CATEGORY", "RANGE")
_REPEATS = ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT")
_LAST_CHARACTER = 0x10FFFF
_OPPOSITES = ("SPACE", "DIGIT", "WORD")


@dataclass(frozen=True)
class Matches:
    """Texts that a pattern could match: their lengths, and whether it is anchored at either side."""

    shortest: int = 0
    longest: int | None = 0
    """None: without end."""
    begins: bool = False
    ends: bool = False


def parsed(pattern: str) -> Any:
    """Return Python's parse of a pattern. Raises `ValueError` for what is none."""
    if len(pattern) > MAX_PATTERN:
        raise ValueError(f"longer than {MAX_PATTERN:,} characters")
    try:
        with warnings.catch_warnings(action="ignore", category=FutureWarning):
            re.compile(pattern)
            return _parser.parse(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(str(error)) from None


def matches_of(pattern: str) -> Matches | None:
    """Return what a pattern could match, or None if no text has it. In doubt it could."""
    tree = parsed(pattern)
    if tree.state.flags & re.MULTILINE:
        return Matches(longest=None)
    return _sequence(tree, 0)


def _sequence(items: Any, before: int) -> Matches | None:
    """`before` counts the characters that surely come before, in the same text."""
    whole = Matches()
    for item in items:
        part = _item(item, before + whole.shortest)
        if part is None or (whole.ends and part.shortest > 0 and not _may_be_newline(item)):
            return None
        whole = Matches(
            shortest=whole.shortest + part.shortest,
            longest=_sum(whole.longest, part.longest),
            begins=whole.begins or (part.begins and whole.longest == 0),
            ends=part.ends or (whole.ends and part.longest == 0),
        )
    return whole


def _item(item: Any, before: int) -> Matches | None:
    operation, argument = str(item[0]), item[1]
    if operation in _ONE_CHARACTER:
        empty = operation == "IN" and _is_empty_class(argument)
        return None if empty else Matches(1, 1)
    reader = _READERS.get(operation)
    return Matches(longest=None) if reader is None else reader(argument, before)


def _group(argument: Any, before: int) -> Matches | None:
    added_flags, items = argument[1], argument[3]
    return Matches(longest=None) if added_flags & re.MULTILINE else _sequence(items, before)


def _look(argument: Any, _: int) -> Matches | None:
    return None if _sequence(argument[1], 0) is None else Matches()


def _look_away(argument: Any, _: int) -> Matches | None:
    return None if _matches_anything(argument[1]) else Matches()


def _anchor(argument: Any, before: int) -> Matches | None:
    if argument in (_constants.AT_BEGINNING, _constants.AT_BEGINNING_STRING):
        return None if before else Matches(begins=True)
    return Matches(ends=argument in (_constants.AT_END, _constants.AT_END_STRING))


def _branch(argument: Any, before: int) -> Matches | None:
    possible = [one for branch in argument[1] if (one := _sequence(branch, before)) is not None]
    if not possible:
        return None
    longest = [one.longest for one in possible if one.longest is not None]
    return Matches(
        shortest=min(one.shortest for one in possible),
        longest=max(longest) if len(longest) == len(possible) else None,
        begins=all(one.begins for one in possible),
        ends=all(one.ends for one in possible),
    )


def _repeat(argument: Any, before: int) -> Matches | None:
    least, most, items = argument
    one = _sequence(items, before)
    if one is None:
        return None if least else Matches()
    longest = None if most == _constants.MAXREPEAT and one.longest != 0 else one.longest
    repeated = Matches(one.shortest * least, longest and longest * most, one.begins, one.ends)
    return repeated if least else replace(repeated, begins=False, ends=False)


def _sum(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else one + other


def _matches_anything(items: Any) -> bool:
    return all(str(operation) in _REPEATS and argument[0] == 0 for operation, argument in items)


def _may_be_newline(item: Any) -> bool:
    """Python's `$` also stands before a newline that ends the text."""
    return not (item[0] == _constants.LITERAL and item[1] != ord("\n"))


def _is_empty_class(members: Any) -> bool:
    if members[0][0] != _constants.NEGATE:
        return False
    names = {str(argument) for operation, argument in members if str(operation) == "CATEGORY"}
    whole = (_constants.RANGE, (0, _LAST_CHARACTER))
    return whole in members or any(
        {f"CATEGORY_{name}", f"CATEGORY_NOT_{name}"} <= names for name in _OPPOSITES
    )


_READERS: dict[str, Callable[[Any, int], Matches | None]] = {
    "AT": _anchor,
    "BRANCH": _branch,
    "SUBPATTERN": _group,
    "ATOMIC_GROUP": _sequence,
    "ASSERT": _look,
    "ASSERT_NOT": _look_away,
    "FAILURE": lambda _argument, _before: None,
    **dict.fromkeys(_REPEATS, _repeat),
}

"""Places in a document as JSON pointers (RFC 6901), and the problems that the check finds there."""

from collections.abc import Collection
from dataclasses import dataclass

from outlast.pipelines.bounds import MAX_PROBLEMS
from outlast.text.hints import hint
from outlast.text.texts import cut

MAX_KEY_BYTES = 80
"""Bytes of one part of a place in a message."""

MAX_KNOWN = 20
"""Known names that a message about an unknown one lists."""


def below(place: str, key: str | int) -> str:
    """Return the place of a field or an item of the value at a place."""
    if isinstance(key, int):
        return f"{place}/{key}"
    return f"{place}/{cut(key.replace('~', '~0').replace('/', '~1'), MAX_KEY_BYTES)}"


@dataclass(frozen=True)
class Problem:
    """One reason why a document is rejected, and its place."""

    place: str
    reason: str

    def __str__(self) -> str:
        """Return the problem in one line."""
        return f"{self.place or '/'}: {self.reason}"


class TooManyProblems(Exception):
    """Raised when a document has so many problems that the check ends."""


class Problems:
    """The problems that were found so far."""

    def __init__(self) -> None:
        self.found: list[Problem] = []

    def add(self, place: str, reason: str) -> None:
        """Add a problem. Raises `TooManyProblems` after the last one that a message shows."""
        self.found.append(Problem(place, reason))
        if len(self.found) >= MAX_PROBLEMS:
            raise TooManyProblems

    def unknown(self, place: str, what: str, name: str, known: Collection[str]) -> None:
        """Add a problem about an unknown name, with the nearest known one."""
        advice = hint(name, known)
        if len(known) > MAX_KNOWN and not advice.startswith("did"):
            advice = f"none of the {len(known):,} names is near"
        self.add(place, f"unknown {what} {cut(name, MAX_KEY_BYTES)!r}; {advice}")

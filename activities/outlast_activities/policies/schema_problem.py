"""A problem of a value that a JSON Schema finds."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

Step = str | int


@dataclass(frozen=True)
class Problem:
    """What is wrong with a value; `path` leads to the wrong part."""

    message: Callable[[], str]
    path: tuple[Step, ...] = ()
    weak: bool = False
    """Whether the problem says only that no branch fits."""
    accepted: tuple[Any, ...] = ()
    """The values of an enum or a constant that the value is none of."""

    @property
    def rank(self) -> tuple[int, bool]:
        """The order of importance: problems of the whole value are the first ones."""
        return len(self.path), self.weak

    def below(self, step: Step) -> "Problem":
        """Return the same problem, seen from the value that contains this one at `step`."""
        return replace(self, path=(step, *self.path))


def value_text(value: Any) -> str:
    """Return a value for a message."""
    try:
        return repr(value)
    except ValueError:  # Python writes no numbers with thousands of digits
        return "a number with too many digits"

"""The nearest known name, for error messages about an unknown one."""

import difflib
from collections.abc import Collection


def hint(name: str, known: Collection[str]) -> str:
    """Return the known name that is nearest to an unknown one, or all known names."""
    near = nearest(name, known)
    return f"known: {', '.join(known) or 'none'}" if near is None else f"did you mean {near!r}?"


def nearest(name: str, known: Collection[str]) -> str | None:
    """Return the known name that is nearest to an unknown one, or None if none is near."""
    return next(iter(difflib.get_close_matches(name, known, n=1)), None)

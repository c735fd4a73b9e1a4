"""The nearest known name, for error messages about an unknown one."""

import difflib
from collections.abc import Collection

from outlast.text.safe_text import cut_line

MAX_KNOWN_BYTES = 2_000
"""Bytes of the known names in a message: a document of somebody else can have thousands."""


def hint(name: str, known: Collection[str]) -> str:
    """Return the known name that is nearest to an unknown one, or the known names."""
    near = nearest(name, known)
    if near is not None:
        return f"did you mean {near!r}?"
    return f"known: {cut_line(', '.join(known), MAX_KNOWN_BYTES) or 'none'}"


def nearest(name: str, known: Collection[str]) -> str | None:
    """Return the known name that is nearest to an unknown one, or None if none is near."""
    return next(iter(difflib.get_close_matches(name, known, n=1)), None)

"""The nearest known name, for error messages about an unknown one."""

import difflib
from collections.abc import Collection


def hint(name: str, known: Collection[str]) -> str:
    """Return the known name that is nearest to an unknown one, or all known names."""
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known) or 'none'}"

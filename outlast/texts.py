"""Text for people: hints, names and lines of a limited size."""

import difflib
import json
import re
from collections.abc import Collection, Mapping

MAX_VALUE_BYTES = 40
"""A value in a line of text."""


def hint(name: str, known: Collection[str]) -> str:
    """Return the known name that is nearest to an unknown one, or all known names."""
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known) or 'none'}"


def toml_key(name: str) -> str:
    """Return a name as a TOML key, quoted if necessary."""
    bare = re.fullmatch(r"[A-Za-z0-9_-]+", name)
    return name if bare else json.dumps(name, ensure_ascii=False)


def cut(text: str, most_bytes: int) -> str:
    """Return text as one line of at most `most_bytes` bytes in UTF-8; `…` marks a cut.

    Limits are in bytes, because the Temporal server counts bytes.
    """
    line = " ".join(text.split())
    encoded = line.encode(errors="replace")
    if len(encoded) <= most_bytes:
        return line
    return encoded[: most_bytes - len("…".encode())].decode(errors="ignore") + "…"


def call_text(tool: str, arguments: Mapping[str, object], most_bytes: int) -> str:
    """Return a tool call as one line: `refund(order_id=42)`."""
    values = ", ".join(f"{name}={_short(value)}" for name, value in arguments.items())
    return cut(f"{tool}({values})", most_bytes)


def _short(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return cut(text, MAX_VALUE_BYTES)


def folded_name(name: str) -> str:
    """Return the form of a person's name that is the same for all spellings of upper case and space."""
    return " ".join(name.split()).casefold()

"""Texts for people, cut to what a field takes: the server counts bytes, not characters."""

import difflib
import json
import re
from collections.abc import Collection


def hint(name: str, known: Collection[str]) -> str:
    """Return the known name that an unknown one is likely to mean, or all of them."""
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known) or 'none'}"


def toml_key(name: str) -> str:
    """Return a name as one writes it as a key in TOML."""
    bare = re.fullmatch(r"[A-Za-z0-9_-]+", name)
    return name if bare else json.dumps(name, ensure_ascii=False)


def cut(text: str, most_bytes: int) -> str:
    """Return one line of at most `most_bytes` bytes in UTF-8, with `…` where something was cut off."""
    line = " ".join(text.split())
    encoded = line.encode(errors="replace")
    if len(encoded) <= most_bytes:
        return line
    return encoded[: most_bytes - len("…".encode())].decode(errors="ignore") + "…"

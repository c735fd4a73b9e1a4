"""Text for people: names and lines of a limited size."""

import json
import re
import unicodedata
from collections.abc import Mapping
from typing import Any

from outlast.text.safe_text import cut_line, escaped, json_text, visible_line

MAX_VALUE_BYTES = 40
"""A value in a line of text."""

MAX_SHOWN_BYTES = 80
"""A wrong value in a message."""


def toml_key(name: str) -> str:
    """Return a name as a TOML key, quoted if necessary."""
    bare = re.fullmatch(r"[A-Za-z0-9_-]+", name)
    return name if bare else json.dumps(name, ensure_ascii=False)


def cut(text: str, most_bytes: int) -> str:
    """Return text as one line of at most `most_bytes` bytes in UTF-8; `…` marks a cut.

    Limits are in bytes, because the Temporal server counts bytes. Characters that people cannot see appear
    as escapes.
    """
    line = " ".join(text.split())
    return cut_line(escaped(line[: most_bytes + 1]), most_bytes)


def shown(value: object) -> str:
    """Return a wrong value for a message, as one line."""
    try:
        return cut(repr(value), MAX_SHOWN_BYTES)
    except Exception:  # noqa: BLE001 the class of the value is not ours
        return f"a value of the type {type(value).__name__}"


def call_text(tool: str, arguments: Mapping[str, object], most_bytes: int) -> str:
    """Return a tool call as one line: `refund(order_id=42)`. Text with punctuation is quoted."""
    values = ", ".join(f"{name}={_short(value)}" for name, value in arguments.items())
    return cut(f"{tool}({values})", most_bytes)


_PLAIN_VALUE = re.compile(r"[\w][\w .@/+:-]*")


def _short(value: Any) -> str:
    if isinstance(value, str) and _PLAIN_VALUE.fullmatch(value):
        return visible_line(value, MAX_VALUE_BYTES)
    if isinstance(value, str):
        return cut_line(json_text(value[: MAX_VALUE_BYTES + 1]), MAX_VALUE_BYTES)
    return cut_line(json_text(value), MAX_VALUE_BYTES)


def folded_name(name: str) -> str:
    """Return the form of a person's name that is the same for all spellings that look alike.

    Case, white space, invisible characters and compatibility forms (NFKC), such as wide letters, do not
    matter.
    """
    visible = "".join(letter for letter in name if unicodedata.category(letter) != "Cf")
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", visible).casefold())
    return " ".join(folded.split())


def excerpt(text: str, most: int) -> str:
    """Return the start and the end of a text of more than `most` characters, with `…` between them."""
    if len(text) <= most:
        return text
    tail = most // 3
    return f"{text[: most - tail]} … {text[-tail:]}"

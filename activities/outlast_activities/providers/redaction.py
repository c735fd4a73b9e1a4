"""Removal of a server's secrets from texts. Histories, logs and traces hold error messages."""

import json
import re
from urllib.parse import quote

MASK = "***"

MIN_PREFIX = 8
"""Characters of a key from which on also a cut copy of it is masked."""


def clean_api_key(api_key: str | None) -> str | None:
    """Return an API key without white space around it, or None if nothing is left.

    Raises `ValueError` if an HTTP header cannot carry the key. The message does not hold the key.
    """
    key = (api_key or "").strip()
    if re.fullmatch(r"[\x21-\x7e]*", key) is None:
        raise ValueError(
            "must be printable ASCII without white space; read it from its source again"
        )
    return key or None


class Redactor:
    """Masks an API key: whole, in quotes, encoded for a URL, and cut off after its first characters."""

    def __init__(self, api_key: str | None) -> None:
        self._pattern = re.compile(_pattern_of(api_key)) if api_key else None

    def clean(self, text: str) -> str:
        """Return a text without the key."""
        return self._pattern.sub(MASK, text) if self._pattern else text


def _pattern_of(key: str) -> str:
    spellings = {key, json.dumps(key)[1:-1], repr(key)[1:-1], quote(key), quote(key, safe="")}
    if len(key) < MIN_PREFIX:
        # Placeholders such as `none` are also words.
        return "|".join(rf"(?<!\w){re.escape(spelling)}(?!\w)" for spelling in sorted(spellings))
    prefixes = {re.escape(spelling[:MIN_PREFIX]) for spelling in spellings}
    return "|".join(rf"{prefix}[^\s\"'<>,;)\]}}]*" for prefix in sorted(prefixes))

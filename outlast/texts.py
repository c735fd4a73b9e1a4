"""Texts for people, cut to what a field takes: the server counts bytes, not characters."""


def cut(text: str, most_bytes: int) -> str:
    """Return one line of at most `most_bytes` bytes in UTF-8, with `…` where something was cut off."""
    line = " ".join(text.split())
    encoded = line.encode(errors="replace")
    if len(encoded) <= most_bytes:
        return line
    return encoded[: most_bytes - len("…".encode())].decode(errors="ignore") + "…"

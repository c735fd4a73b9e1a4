"""URLs in texts of strangers."""

from urllib.parse import urlsplit


def host_of(url: str) -> str:
    """Return the host of a URL in lower case, or an empty text without one that can be read."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:  # such as https://[
        return ""

"""References to images and files: what a history holds of them, in place of their bytes.

A reference is text in a message, an argument or a result:
`media:image/png;bytes=52428;id=0f3c…;name=receipt.png`. The id is the beginning of the SHA-256 of the
bytes, which are in the media store. JSON escapes none of its letters, so it stays readable in any JSON.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, Self
from urllib.parse import quote, unquote

MAX_MEDIA_BYTES = 20_000_000
"""Bytes of one image or file. Each API accepts less, or as much."""

MAX_MEDIA_URL = 2_000
"""Characters of the URL of an image or a file."""

MAX_MEDIA_NAME = 100
"""Characters of the name of a file. A longer name is cut."""

ID_CHARACTERS = 32
"""Characters of an id: 128 bits, which nobody can guess, and which a model can copy."""

IMAGE_TYPES = ("image/png", "image/jpeg", "image/gif", "image/webp")
"""Media types of images. Every API with images takes these."""

_REFERENCE = re.compile(
    r"media:(?P<type>[a-z]{1,20}/[a-z0-9.+-]{1,80})"
    r";(?:bytes=(?P<bytes>\d{1,12});id=(?P<id>[0-9a-f]{32})|url=(?P<url>[A-Za-z0-9%._~/-]{1,6000}))"
    r"(?:;name=(?P<name>[A-Za-z0-9%._~-]{1,900}))?"
)


@dataclass(frozen=True)
class MediaReference:
    """An image or a file: its `id` in the media store and its size, or its `url`."""

    media_type: str
    id: str = ""
    size: int = 0
    url: str = ""
    name: str = ""

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Return the reference that a text is, or None."""
        match = _REFERENCE.fullmatch(text.strip())
        return None if match is None else cls(**_fields(match))

    @property
    def kind(self) -> Literal["image", "file"]:
        """What it is."""
        return "image" if self.media_type.startswith("image/") else "file"

    @property
    def text(self) -> str:
        """The reference as text."""
        place = (
            f"url={quote(self.url, safe='/')}" if self.url else f"bytes={self.size};id={self.id}"
        )
        name = f";name={quote(self.name, safe='')}" if self.name else ""
        return f"media:{self.media_type};{place}{name}"

    @property
    def label(self) -> str:
        """What people see of it: `[image 1.2 MB image/png receipt.png]`."""
        size = self.url if self.url else _size_text(self.size)
        return f"[{' '.join(filter(None, (self.kind, size, self.media_type, self.name)))}]"


def references_in(text: str) -> Iterator[tuple[int, MediaReference]]:
    """Yield the references in a text in their order, each with the position of its end."""
    if "media:" not in text:
        return
    for match in _REFERENCE.finditer(text):
        yield match.end(), MediaReference(**_fields(match))


def with_labels(text: str) -> str:
    """Return a text for people, with labels in place of its references."""
    if "media:" not in text:
        return text
    return _REFERENCE.sub(lambda match: MediaReference(**_fields(match)).label, text)


def _fields(match: re.Match[str]) -> dict[str, Any]:
    return {
        "media_type": match["type"],
        "id": match["id"] or "",
        "size": int(match["bytes"] or 0),
        "url": unquote(match["url"] or ""),
        "name": unquote(match["name"] or ""),
    }


def _size_text(size: int) -> str:
    for unit, scale in (("MB", 1_000_000), ("kB", 1_000)):
        if size >= scale:
            return f"{size / scale:.1f} {unit}"
    return f"{size} B"

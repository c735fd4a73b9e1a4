"""What the services reject of images and files in requests, and what a request holds of them.

Rules marked [doc] are from the guides to vision and files of each vendor, as of November 2026.
"""

import base64
import binascii
from collections.abc import Iterator
from typing import Any

IMAGE_TYPES = ("image/png", "image/jpeg", "image/gif", "image/webp")
MAX_BASE64 = 10_000_000
"""[doc] Anthropic: characters of one image in base64."""
MAX_INLINE = 20_000_000
"""[doc] Gemini: bytes of a request with inline data."""


def media_in(body: Any) -> Iterator[tuple[str, bytes]]:
    """Yield the media type and the bytes of each image and file in a request, in any form."""
    if isinstance(body, list):
        for entry in body:
            yield from media_in(entry)
    if not isinstance(body, dict):
        return
    if body.get("type") == "base64":
        yield body["media_type"], _decoded(body["data"])
    elif "inlineData" in body:
        yield body["inlineData"]["mimeType"], _decoded(body["inlineData"]["data"])
    for value in body.values():
        if isinstance(value, str) and value.startswith("data:"):
            kind, _, data = value.removeprefix("data:").partition(";base64,")
            yield kind, _decoded(data)
        else:
            yield from media_in(value)


def media_problem(body: Any, *, max_base64: int | None = None) -> str | None:
    """Return why a service rejects the images and files of a request, or None."""
    try:
        found = list(media_in(body))
    except binascii.Error:
        return "Invalid base64 data"
    for kind, data in found:
        if kind not in (*IMAGE_TYPES, "application/pdf"):
            return f"Unsupported media type: {kind}"
        if not data:
            return "Empty file"
        if max_base64 is not None and len(data) * 4 / 3 > max_base64:
            return f"image exceeds the maximum of {max_base64} bytes"
    return None


def _decoded(data: str) -> bytes:
    return base64.b64decode(data, validate=True)

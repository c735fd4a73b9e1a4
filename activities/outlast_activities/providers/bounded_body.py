"""A bound on the bytes of answers, which a broken or hostile server may send without an end.

The HTTP client decompresses whatever one read returns: a few kilobytes can become gigabytes. So this
module decompresses, piece by piece, and counts the result.
"""

import zlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx2

from outlast.errors import ModelFailure
from outlast_activities.providers.streams import AnswerAborted

MAX_BODY_BYTES = 8_000_000
"""Decompressed bytes of an answer that does not stream, or of one event of a stream. A decision has at
most 2 MB, and escapes in JSON can triple its size."""

PIECE_BYTES = 65_536
"""Bytes that are decompressed at once."""

ACCEPT_ENCODING = "gzip, deflate"
"""What this module can decompress."""

_IDENTITY = ("", "identity")
_ZLIB = ("gzip", "x-gzip", "deflate")
_GZIP_OR_ZLIB_HEADER = 47
"""The `wbits` with which zlib detects both headers."""


class BoundedBody(httpx2.AsyncByteStream):
    """The bytes of an answer, decompressed. Raises `AnswerAborted` after `MAX_BODY_BYTES`.

    `restart` starts the count again, after an event of a stream.
    """

    def __init__(self, stream: httpx2.AsyncByteStream, encoding: str) -> None:
        self._stream = stream
        self._encoding = encoding
        self._size = 0

    def restart(self) -> None:
        """Count the bytes from here on."""
        self._size = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the decompressed bytes."""
        if self._encoding not in (*_IDENTITY, *_ZLIB):
            raise AnswerAborted(
                f"answered with an unknown content-encoding {self._encoding[:40]!r}",
                ModelFailure.SERVER_ERROR,
            )
        decompressor = zlib.decompressobj(_GZIP_OR_ZLIB_HEADER) if self._encoding in _ZLIB else None
        async for data in self._stream:
            for piece in _pieces(decompressor, data):
                self._size += len(piece)
                if self._size > MAX_BODY_BYTES:
                    raise AnswerAborted(
                        f"sent more than {MAX_BODY_BYTES:,} bytes without the end of an answer",
                        ModelFailure.SERVER_ERROR,
                    )
                yield piece

    async def aclose(self) -> None:
        """Close the connection."""
        await self._stream.aclose()


def _pieces(decompressor: Any, data: bytes) -> Iterator[bytes]:
    if decompressor is None:
        yield data
        return
    while data:
        try:
            piece = decompressor.decompress(data, PIECE_BYTES)
        except zlib.error:
            raise AnswerAborted(
                "answered with bytes that cannot be decompressed", ModelFailure.SERVER_ERROR
            ) from None
        yield piece
        data = decompressor.unconsumed_tail


def bound_body(response: httpx2.Response, kind: type[BoundedBody] = BoundedBody) -> None:
    """Bound the body of an answer, which `kind` reads."""
    encoding = response.headers.pop("content-encoding", "").strip().lower()
    assert isinstance(response.stream, httpx2.AsyncByteStream)  # noqa: S101 an asynchronous client
    response.stream = kind(response.stream, encoding)


async def bound_answer(response: httpx2.Response) -> None:
    """Bound the body of an answer: a hook for responses of the HTTP client."""
    bound_body(response)

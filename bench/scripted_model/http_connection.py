"""HTTP/1.1 with keep-alive: the small part that a fast loopback server needs."""

import asyncio
import json
import math
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus

MAX_HEAD_BYTES = 64_000
MAX_WRITE_BYTES = 64_000
"""The most bytes of one answer before other connections get their turn."""

MAX_BODY_BYTES = 64_000_000
"""Far more than a transcript at the end of a context, which is a few MB."""

_REASONS = {status.value: status.phrase for status in HTTPStatus}


@dataclass(frozen=True)
class Reply:
    """An HTTP response whose body is known, sent after a delay."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    delay_s: float = 0
    content_type: str = "application/json"


@dataclass(frozen=True)
class Pause:
    """Nothing is sent for so many seconds; with `math.inf`, until the client disconnects."""

    seconds: float


@dataclass(frozen=True)
class HangUp:
    """The connection ends here, even if the response is not complete."""


Parts = Generator[bytes | Pause | HangUp, None, None]
"""A response with its head, in parts. It is closed if its client disconnects."""

Answer = Callable[[str, str, Mapping[str, str], bytes], Reply | Parts]
"""Returns the response to a method, path, headers (names in lower case) and body."""


def head(
    status: int, content_type: str, headers: Mapping[str, str], *, length: int | None
) -> bytes:
    """Return the head of a response. Without a `length` its body is chunked."""
    framing = "transfer-encoding: chunked" if length is None else f"content-length: {length}"
    lines = [
        f"HTTP/1.1 {status} {_REASONS.get(status, 'Unknown')}",
        f"content-type: {content_type}",
        framing,
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


class HttpConnection(asyncio.Protocol):
    """One HTTP/1.1 connection: requests are answered one after another, in order."""

    def __init__(
        self,
        answer: Answer,
        connections: "set[HttpConnection]",
        *,
        on_abandoned: Callable[[], None],
    ) -> None:
        self._answer = answer
        self._connections = connections
        self._on_abandoned = on_abandoned
        self._buffer = bytearray()
        self._head: tuple[str, str, dict[str, str]] | None = None
        self._parts: Parts | None = None
        self._closing = False
        self._timer: asyncio.TimerHandle | None = None
        self._is_full = False
        self._is_paused = False
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Join the connections of the server."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 asyncio's signature
        """Leave the connections, and stop an unfinished answer."""
        self._connections.discard(self)
        if self._timer is not None:
            self._timer.cancel()
        if self._parts is not None:
            self._parts.close()
            self._parts = None
            self._on_abandoned()

    def pause_writing(self) -> None:
        """Pause an answer, because the client does not read it."""
        self._is_full = True

    def resume_writing(self) -> None:
        """Continue a paused answer."""
        self._is_full = False
        if self._is_paused:
            self._is_paused = False
            self._resume()

    def close(self) -> None:
        """Abort the connection."""
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Buffer data, and answer the complete requests."""
        self._buffer += data
        self._advance()

    def _advance(self) -> None:
        """Answer the complete requests, until an answer has to pause."""
        while self._parts is None and (request := self._take_request()) is not None:
            method, path, headers, body = request
            answer = self._answer(method, path, headers, body)
            self._closing = headers.get("connection", "").lower() == "close"
            if isinstance(answer, Reply) and not answer.delay_s:
                self._send(answer)
                continue
            self._parts = self._late(answer) if isinstance(answer, Reply) else answer
            self._continue()

    def _resume(self) -> None:
        self._timer = None
        if self._is_full:
            self._is_paused = True
            return
        self._continue()
        self._advance()

    def _continue(self) -> None:
        """Send what is ready of an answer in one write, until it pauses or ends."""
        assert self._transport is not None
        assert self._parts is not None
        ready = bytearray()
        ending: Pause | HangUp | None = None
        for part in self._parts:
            if not isinstance(part, bytes):
                ending = part
                break
            ready += part
            if len(ready) >= MAX_WRITE_BYTES:
                ending = Pause(0)
                break
        if ready:
            self._transport.write(bytes(ready))
        if isinstance(ending, Pause):
            if ending.seconds < math.inf:
                loop = asyncio.get_running_loop()
                self._timer = loop.call_later(ending.seconds, self._resume)
            return
        self._parts.close()
        self._parts = None
        if self._closing or ending is not None:
            self._end()

    def _late(self, reply: Reply) -> Parts:
        yield Pause(reply.delay_s)
        yield self._encoded(reply)

    def _send(self, reply: Reply) -> None:
        assert self._transport is not None
        self._transport.write(self._encoded(reply))
        if self._closing:
            self._end()

    def _encoded(self, reply: Reply) -> bytes:
        headers = {**reply.headers, "connection": "close"} if self._closing else reply.headers
        first = head(reply.status, reply.content_type, headers, length=len(reply.body))
        return first + reply.body

    def _end(self) -> None:
        assert self._transport is not None
        self._buffer.clear()
        self._transport.close()

    def _take_request(self) -> tuple[str, str, dict[str, str], bytes] | None:
        if self._head is None:
            self._head = self._take_head()
            if self._head is None:
                return None
        method, path, headers = self._head
        length = int(headers.get("content-length", "0"))
        if length > MAX_BODY_BYTES or "transfer-encoding" in headers:
            self._refuse("a body needs a content-length of at most 64 MB")
            return None
        if len(self._buffer) < length:
            return None
        body = bytes(self._buffer[:length])
        del self._buffer[:length]
        self._head = None
        return method, path, headers, body

    def _take_head(self) -> tuple[str, str, dict[str, str]] | None:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(self._buffer) > MAX_HEAD_BYTES:
                self._refuse("the head of the request is too long")
            return None
        first, *lines = self._buffer[:end].decode("latin-1").split("\r\n")
        del self._buffer[: end + 4]
        method, path, _version = first.split(" ", 2)
        pairs = (line.partition(":") for line in lines)
        headers = {name.lower(): value.strip() for name, _colon, value in pairs}
        if headers.get("expect", "").lower() == "100-continue" and self._transport is not None:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        return method, path, headers

    def _refuse(self, message: str) -> None:
        self._buffer.clear()
        self._head = None
        self._closing = True
        self._send(Reply(400, json.dumps({"error": {"message": message}}).encode()))

"""HTTP/1.1 with keep-alive, as little of it as a fast loopback server needs."""

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus

MAX_HEAD_BYTES = 64_000
MAX_BODY_BYTES = 64_000_000
"""A transcript of a run at the end of its context is a few MB; more is a client gone wrong."""

_REASONS = {status.value: status.phrase for status in HTTPStatus}


@dataclass(frozen=True)
class Reply:
    """An HTTP response with a JSON body, sent after a delay."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    delay_s: float = 0


Answer = Callable[[str, str, Mapping[str, str], bytes], Reply]
"""From method, path, headers (names in lower case) and body to what they are answered with."""


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
        self._pending: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Join the server's connections."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 asyncio's signature
        """Leave them, and drop an answer that nobody waits for."""
        self._connections.discard(self)
        if self._pending is not None:
            self._pending.cancel()
            self._on_abandoned()

    def close(self) -> None:
        """Drop the connection, whatever it waits for."""
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Take what came, and answer what is complete."""
        self._buffer += data
        self._advance()

    def _advance(self) -> None:
        """Answer every request that is complete, until one of them has to wait."""
        while self._pending is None and (request := self._take_request()) is not None:
            method, path, headers, body = request
            reply = self._answer(method, path, headers, body)
            closing = headers.get("connection", "").lower() == "close"
            if reply.delay_s:
                loop = asyncio.get_running_loop()
                self._pending = loop.call_later(reply.delay_s, self._send_late, reply, closing)
            else:
                self._send(reply, closing)

    def _send_late(self, reply: Reply, closing: bool) -> None:  # noqa: FBT001 from call_later
        self._pending = None
        self._send(reply, closing)
        self._advance()

    def _send(self, reply: Reply, closing: bool) -> None:  # noqa: FBT001 from call_later
        assert self._transport is not None
        lines = [
            f"HTTP/1.1 {reply.status} {_REASONS.get(reply.status, 'Unknown')}",
            "content-type: application/json",
            f"content-length: {len(reply.body)}",
            *(f"{name}: {value}" for name, value in reply.headers.items()),
            *(["connection: close"] if closing else []),
        ]
        self._transport.write("\r\n".join([*lines, "", ""]).encode("latin-1") + reply.body)
        if closing:
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
        self._send(Reply(400, json.dumps({"error": {"message": message}}).encode()), closing=True)

"""What any client of a port can do: real sockets against the real server."""

import asyncio
import itertools
import socket
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from outlast_workers import web
from outlast_workers.callback import page as callback_page
from outlast_workers.callback.form import MAX_FORM_BYTES
from outlast_workers.callback.links import Link, Links
from outlast_workers.web import open_listener, serve_in_background
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route

LINKS = Links("a secret of many letters")
_REQUEST: Any = SimpleNamespace(id="1.1", request_id="1.1")
TOKEN = LINKS.url("w", "r", _REQUEST).rpartition("/")[2]
FORM = b"Content-Type: application/x-www-form-urlencoded\r\n"


@asynccontextmanager
async def served(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[int]:
    """Serve the decision page, and note the forms that reach the run."""
    monkeypatch.setattr(callback_page.CallbackPage, "_decide", decide)
    monkeypatch.setattr(callback_page.CallbackPage, "_show_pending", show)
    app = callback_page.callback_app(None, LINKS)  # type: ignore[arg-type]  # no run is reached
    listener = open_listener("127.0.0.1", 0, name="the page", key="callback.port")
    async with serve_in_background(app, listener):
        yield listener.getsockname()[1]


async def decide(_page: Any, _link: Link, fields: dict[str, str]) -> PlainTextResponse:
    return PlainTextResponse(f"{sorted(fields.items())}"[:500])


async def show(_page: Any, _link: Link) -> PlainTextResponse:
    return PlainTextResponse("shown")


async def answer_to(port: int, *pieces: bytes | Iterable[bytes], within_s: float = 30) -> bytes:
    """Send pieces, and return all that the server sends until it closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)

    async def send() -> None:
        try:
            for piece in pieces:
                for data in [piece] if isinstance(piece, bytes) else piece:
                    writer.write(data)
                    await writer.drain()
                    await asyncio.sleep(0)
        except ConnectionError:
            pass

    sending = asyncio.create_task(send())
    try:
        async with asyncio.timeout(within_s):
            return await reader.read()
    except ConnectionError:
        return b""
    finally:
        sending.cancel()
        writer.close()


def post(*headers: bytes, body: bytes = b"", path: str = f"/r/{TOKEN}") -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n".encode()
    return head + b"".join(headers) + b"\r\n" + body


def chunked(size: int) -> Iterable[bytes]:
    return itertools.repeat(b"%x\r\n" % size + b"a" * size + b"\r\n")


LENGTH = b"Content-Length: %d\r\n"
BOUNDARY = b"Content-Type: multipart/form-data; boundary=b\r\n"
FILE = b'--b\r\nContent-Disposition: form-data; name="f"; filename="x"\r\n\r\n'

REJECTED: dict[str, tuple[tuple[bytes | Iterable[bytes], ...], bytes]] = {
    "a chunked body": ((post(FORM, b"Transfer-Encoding: chunked\r\n"), chunked(65_536)), b"413"),
    "a chunked body beside a length": (
        (post(FORM, LENGTH % 5, b"Transfer-Encoding: chunked\r\n"), chunked(65_536)),
        b"4",
    ),
    "a large length": ((post(FORM, LENGTH % (MAX_FORM_BYTES + 1)),), b"413"),
    "a huge length": ((post(FORM, b"Content-Length: " + b"9" * 19 + b"\r\n"),), b"4"),
    "a negative length": ((post(FORM, b"Content-Length: -1\r\n"),), b"400"),
    "two lengths": ((post(FORM, LENGTH % 3, LENGTH % 4, body=b"a=b"),), b"400"),
    "a length in words": ((post(FORM, b"Content-Length: many\r\n"),), b"400"),
    "a file": ((post(BOUNDARY, LENGTH % 300_000), FILE, itertools.repeat(b"x" * 65_536)), b"415"),
    "a chunked file": (
        (post(BOUNDARY, b"Transfer-Encoding: chunked\r\n"), chunked(65_536)),
        b"415",
    ),
    "a multipart field": ((post(BOUNDARY, LENGTH % len(FILE), body=FILE),), b"415"),
    "JSON": ((post(b"Content-Type: application/json\r\n", LENGTH % 2, body=b"{}"),), b"415"),
    "no type": ((post(LENGTH % 3, body=b"a=b"),), b"415"),
    "many fields": ((post(FORM, LENGTH % 4_000, body=b"a=b&" * 1_000),), b"400"),
    "bytes that are no text": ((post(FORM, LENGTH % 5, body=b"a=%ff"),), b"400"),
    "raw bytes that are no text": ((post(FORM, LENGTH % 3, body=b"a=\xff"),), b"400"),
    "a broken chunk": ((post(FORM, b"Transfer-Encoding: chunked\r\n", body=b"zz\r\n"),), b"400"),
    "an unknown coding": ((post(FORM, b"Transfer-Encoding: gzip\r\n"),), b"400"),
    "a long path": ((b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\n\r\n",), b"400"),
    "long headers": ((b"GET / HTTP/1.1\r\n", itertools.repeat(b"X-A: " + b"x" * 4_000 + b"\r\n")), b"400"),
    "no HTTP": ((b"\x16\x03\x01\x02\x00" + b"\0" * 300,), b"400"),
    "another method": ((b"PUT /r/x HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",), b"405"),
}  # fmt: skip


@pytest.mark.parametrize("name", REJECTED)
async def test_a_form_is_small_or_rejected(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "REQUEST_TIMEOUT_S", 2.0)
    pieces, status = REJECTED[name]
    async with served(monkeypatch) as port:
        received = await answer_to(port, *pieces)
        # A server that closes a connection with unread data may lose its answer.
        assert not received or received.split(b" ")[1].startswith(status), received[:200]
        assert b"200 OK" in await answer_to(port, post(FORM, LENGTH % 11, body=b"by=ann&x=%0A"))


async def test_a_form_of_the_largest_size_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    body = b"by=" + b"a" * (MAX_FORM_BYTES - 3)
    async with served(monkeypatch) as port:
        for headers in (LENGTH % len(body), b"Transfer-Encoding: chunked\r\n"):
            is_chunked = b"chunked" in headers
            sent = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if is_chunked else body
            assert b"200 OK" in await answer_to(port, post(FORM, headers, body=sent))


SLOW_S = 30
"""A connection that is not closed for a reason stays open for longer."""

SLOW = {
    "nothing": b"",
    "half a line": b"GET / HT",
    "half of the headers": b"GET / HTTP/1.1\r\nHost: h\r\n",
    "no body": post(FORM, LENGTH % 100),
    "half a body": post(FORM, LENGTH % 100, body=b"by=ann"),
    "half a chunk": post(FORM, b"Transfer-Encoding: chunked\r\n", body=b"10\r\nab"),
    "no last chunk": post(FORM, b"Transfer-Encoding: chunked\r\n", body=b"1\r\na\r\n"),
    "a second half request": b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\nGET /heal",
    "an idle connection": b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n",
    "half a body for nobody": post(FORM, LENGTH % 100, body=b"x", path="/r/none"),
}


@pytest.mark.parametrize("name", SLOW)
async def test_a_slow_connection_is_closed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "REQUEST_TIMEOUT_S", 0.5)
    async with served(monkeypatch) as port:
        await answer_to(port, SLOW[name], within_s=SLOW_S)


async def test_a_drip_of_bytes_does_not_keep_a_connection_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(web, "REQUEST_TIMEOUT_S", 0.5)
    async with served(monkeypatch) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nX-A: ")
        began = time.monotonic()
        while not reader.at_eof() and time.monotonic() - began < SLOW_S:
            writer.write(b"a")
            try:
                await asyncio.wait_for(reader.read(1), 0.05)
            except (TimeoutError, ConnectionError) as error:
                if isinstance(error, ConnectionError):
                    break
        writer.close()
        assert time.monotonic() - began < SLOW_S


@pytest.mark.parametrize("path", ["/small", "/stream"])
async def test_a_client_that_reads_nothing_is_closed(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "READ_TIMEOUT_S", 0.5)
    closed, ended = asyncio.Event(), asyncio.Event()
    lost = web.BoundedConnection.connection_lost

    def connection_lost(self: web.BoundedConnection, exc: Exception | None) -> None:
        lost(self, exc)
        closed.set()

    async def endless() -> AsyncIterator[str]:
        try:
            while True:
                yield "x" * 10_000
                await asyncio.sleep(0)
        finally:
            ended.set()

    async def small(_: Request) -> PlainTextResponse:
        return PlainTextResponse("x" * 3_000)

    async def stream(_: Request) -> StreamingResponse:
        return StreamingResponse(endless())

    monkeypatch.setattr(web.BoundedConnection, "connection_lost", connection_lost)
    app = Starlette(routes=[Route("/small", small), Route("/stream", stream)])
    listener = open_listener("127.0.0.1", 0, name="the page", key="callback.port")
    with socket.socket() as client:
        async with asyncio.timeout(SLOW_S), serve_in_background(app, listener):
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            client.connect(listener.getsockname())
            # Many requests at once: the answers to small ones also fill the buffers.
            client.setblocking(False)
            client.send(f"GET {path} HTTP/1.1\r\nHost: h\r\n\r\n".encode() * 2_000)
            await closed.wait()
            if path == "/stream":
                await ended.wait()


async def test_many_half_requests_do_not_lock_others_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "REQUEST_TIMEOUT_S", 0.5)
    monkeypatch.setattr(web, "MAX_CONNECTIONS", 20)
    async with served(monkeypatch) as port:
        writers = []
        for _ in range(200):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET / HTTP/1.1\r\n")
            writers.append(writer)
        async with asyncio.timeout(SLOW_S):
            while b"200 OK" not in await answer_to(port, b"GET /healthz HTTP/1.0\r\n\r\n"):
                await asyncio.sleep(0.1)
        for writer in writers:
            writer.close()


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("GET /healthz", b"200"),
        ("GET /r/none", b"404"),
        ("GET /none", b"404"),
        ("PUT /r/none", b"405"),
        ("DELETE /healthz", b"405"),
        (f"GET /r/{TOKEN}", b"200"),
        (f"GET /r/{TOKEN}/", b"404"),
        (f"GET //r/{TOKEN}", b"404"),
        ("GET /healthz/", b"404"),
        ("GET /r/", b"404"),
        ("OPTIONS *", b"404"),
    ],
)
async def test_each_answer_has_the_headers_of_security_and_no_redirect(
    line: str, status: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with served(monkeypatch) as port:
        head = f"{line} HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n"
        answer = await answer_to(port, head.encode())
    assert answer.split(b" ")[1] == status
    for header in (b"nosniff", b"no-referrer", b"default-src 'none'", b"no-store"):
        assert header in answer
    assert b"location:" not in answer.lower()
    assert b"evil.example" not in answer
    assert b"uvicorn" not in answer.lower()


async def test_small_packets_are_not_held_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """With Nagle's algorithm, an event waits up to 40 ms for the client to confirm the one before."""
    options: list[int] = []
    begun = web.BoundedConnection.connection_made

    def connection_made(self: web.BoundedConnection, transport: Any) -> None:
        begun(self, transport)
        connection = transport.get_extra_info("socket")
        options.append(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

    monkeypatch.setattr(web.BoundedConnection, "connection_made", connection_made)
    async with served(monkeypatch) as port:
        await answer_to(port, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert options
    assert all(options)

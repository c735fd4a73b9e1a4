"""A server on loopback that answers each request with the same bytes, whatever they are."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

SSE = "text/event-stream"
JSON = "application/json"


@dataclass
class RawServer:
    """The server's URL, and the heads of the requests that it received."""

    url: str = ""
    requests: list[bytes] = field(default_factory=list)


def response(
    body: bytes | str, content_type: str = JSON, status: int = 200, **headers: str
) -> bytes:
    """Return a response that ends with the connection."""
    content = body.encode("utf-8", "surrogatepass") if isinstance(body, str) else body
    fields = {"content-type": content_type, "connection": "close"} if content_type else {}
    fields |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [f"HTTP/1.1 {status} X", *(f"{name}: {value}" for name, value in fields.items())]
    return "\r\n".join([*lines, "", ""]).encode() + content


@asynccontextmanager
async def raw_server(*pieces: bytes | Iterable[bytes]) -> AsyncIterator[RawServer]:
    """Serve until the block is left. A piece that is an iterable is sent until the client leaves."""
    server = RawServer()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            server.requests.append(head)
            length = next(
                (
                    int(line.split(b":")[1])
                    for line in head.lower().split(b"\r\n")
                    if line.startswith(b"content-length:")
                ),
                0,
            )
            await reader.readexactly(length)
            for piece in pieces:
                for data in [piece] if isinstance(piece, bytes) else piece:
                    writer.write(data)
                    await writer.drain()
                    await asyncio.sleep(0)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    listener = await asyncio.start_server(answer, "127.0.0.1", 0)
    server.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/v1"
    try:
        yield server
    finally:
        listener.close()

"""A raw client: what a server sends, byte by byte, without a library's opinion of it."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bench.scripted_model_server import ScriptedModelServer

USER = {"role": "user", "content": "x" * 40}
"""Ten tokens, as the scripted server counts."""


def asking(**fields: Any) -> dict[str, Any]:
    return {"model": "scripted", "messages": [USER], **fields}


def streaming(*, continuous: bool = False, **fields: Any) -> dict[str, Any]:
    options = {"include_usage": True, **({"continuous_usage_stats": True} if continuous else {})}
    return asking(stream=True, stream_options=options, **fields)


@dataclass
class Sent:
    """One response as it came over the wire; `is_complete` is whether its body ended as promised."""

    head: str
    chunks: list[bytes]
    is_complete: bool

    @property
    def status(self) -> int:
        return int(self.head.split(" ")[1])

    @property
    def data(self) -> list[str]:
        events = b"".join(self.chunks).decode().split("\n\n")
        assert events[-1] == ""
        assert all(event.startswith("data: ") for event in events[:-1])
        return [event.removeprefix("data: ") for event in events[:-1]]

    @property
    def objects(self) -> list[dict[str, Any]]:
        return [json.loads(one) for one in self.data if one != "[DONE]"]

    @property
    def deltas(self) -> list[dict[str, Any]]:
        return [one["choices"][0]["delta"] for one in self.objects if one.get("choices")]

    @property
    def text(self) -> str:
        return "".join(delta.get("content") or "" for delta in self.deltas)


class Connection:
    """One connection to a scripted server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, body: dict[str, Any], path: str = "/v1/chat/completions") -> None:
        content = json.dumps(body).encode()
        head = f"POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: {len(content)}\r\n\r\n"
        self.writer.write(head.encode() + content)

    async def receive(self) -> Sent:
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        assert "transfer-encoding: chunked" in head
        chunks: list[bytes] = []
        while (chunk := await self.chunk()) is not None:
            if not chunk:
                return Sent(head, chunks, is_complete=True)
            chunks.append(chunk)
        return Sent(head, chunks, is_complete=False)

    async def chunk(self) -> bytes | None:
        """Read the next chunk: empty at the end of the body, None at that of the connection."""
        size = await self.reader.readline()
        if not size:
            return None
        return (await self.reader.readexactly(int(size, 16) + 2))[:-2]

    async def leave(self) -> None:
        self.writer.close()
        await self.writer.wait_closed()


async def connected(server: ScriptedModelServer) -> Connection:
    return Connection(*await asyncio.open_connection("127.0.0.1", server.port))


async def sent(server: ScriptedModelServer, body: dict[str, Any]) -> Sent:
    connection = await connected(server)
    connection.send(body)
    response = await connection.receive()
    await connection.leave()
    return response


async def until(happened: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not happened():
            await asyncio.sleep(0.005)

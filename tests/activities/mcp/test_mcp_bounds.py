"""What an MCP server may cost a worker that it wants to harm: memory, connections and time."""

import asyncio
import itertools
import zlib
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import pytest
from mcp_types import Tool
from outlast_activities.mcp import connections
from outlast_activities.mcp.connections import McpConnection, NotConnected

from outlast import McpServer
from outlast.errors import NotReady
from tests.activities.providers.raw_server import SSE, raw_server, response


def gzip_of(spaces: int) -> bytes:
    encoder = zlib.compressobj(9, zlib.DEFLATED, 31)
    return encoder.compress(b" " * spaces) + encoder.flush()


def connection_to(url: str) -> McpConnection:
    return McpConnection(McpServer(name="hostile", url=url), asyncio.get_running_loop())


LARGE: dict[str, tuple[bytes | Iterable[bytes], ...]] = {
    "compressed": (response(gzip_of(50_000_000), content_encoding="gzip"),),
    "endless": (response(b""), itertools.repeat(b" " * 65_536)),
    "a compressed stream": (response(gzip_of(50_000_000), SSE, content_encoding="gzip"),),
}


@pytest.mark.parametrize("name", LARGE)
async def test_a_large_answer_is_not_read(name: str) -> None:
    async with raw_server(*LARGE[name]) as server:
        connection = connection_to(server.url)
        with pytest.raises(NotReady, match=r"8,000,000 bytes|1048576 byte"):
            await connection.list_tools()
        await connection.aclose()


async def test_a_server_that_never_answers_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "OPEN_WITHIN_S", 0.3)
    alive = response(b"", SSE), itertools.repeat(b": alive\n\n")
    async with raw_server(*alive) as server:
        connection = connection_to(server.url)
        with pytest.raises(NotConnected, match=r"no answer in 0.3 s"):
            await connection.is_current("a_tool", "a_pin")
        await connection.aclose()


async def test_a_call_that_times_out_closes_the_connection_that_it_opens() -> None:
    alive = response(b"", SSE), itertools.repeat(b": alive\n\n")
    async with raw_server(*alive) as server:
        connection = connection_to(server.url)
        for _ in range(3):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.3):
                    await connection.is_current("a_tool", "a_pin")
        async with asyncio.timeout(30):
            while any("_serve" in str(task.get_coro()) for task in asyncio.all_tasks()):
                await asyncio.sleep(0.05)


async def test_the_tools_of_a_server_are_bounded_in_bytes() -> None:
    pages = 0

    async def list_tools(*, cursor: str | None) -> Any:
        nonlocal pages
        pages += 1
        tool = Tool(name=f"t{pages}", description="x" * 1_000_000, input_schema={})
        return SimpleNamespace(tools=[tool], next_cursor=f"{cursor}.")

    connection = connection_to("http://127.0.0.1:1/mcp")
    await connection._list(SimpleNamespace(list_tools=list_tools))  # type: ignore[arg-type]  # a fake client
    assert pages == 8

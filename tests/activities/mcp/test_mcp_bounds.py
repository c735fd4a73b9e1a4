"""What an MCP server may cost a worker that it wants to harm: memory, connections and time."""

import asyncio
import itertools
import zlib
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from mcp_types import JSONRPCRequest, JSONRPCResponse, Tool
from outlast_activities.mcp import connections
from outlast_activities.mcp.connections import McpConnection, NotConnected
from outlast_activities.mcp.transports import MAX_SERVER_REQUESTS, run_transport

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


class Stream:
    """A stream of messages, and what was sent to it."""

    def __init__(self, *messages: Any) -> None:
        self._unread = [SimpleNamespace(message=message) for message in messages]
        self.sent: list[Any] = []

    async def receive(self) -> Any:
        return self._unread.pop(0)

    async def send(self, item: Any) -> None:
        self.sent.append(item.message)


async def test_few_requests_of_a_server_are_answered_at_once() -> None:
    """Each would be a task: 8 MB of pings were 160,000 of them."""
    pings = [JSONRPCRequest(jsonrpc="2.0", id=number, method="ping") for number in range(200)]
    result = JSONRPCResponse(jsonrpc="2.0", id="call", result={})
    server, client = Stream(*pings, result, *pings, result), Stream()

    @asynccontextmanager
    async def transport() -> AsyncIterator[Any]:
        yield server, client

    async with run_transport(transport(), "h") as (answers, requests):

        async def passed() -> list[Any]:
            found: list[Any] = []
            while not isinstance(message := (await answers.receive()).message, JSONRPCResponse):
                found.append(message.id)
            return found

        first = await passed()
        assert first == list(range(MAX_SERVER_REQUESTS))
        for identifier in first[:3]:
            answer = JSONRPCResponse(jsonrpc="2.0", id=identifier, result={})
            await requests.send(SimpleNamespace(message=answer))
        assert await passed() == [0, 1, 2]

"""Connections to MCP servers: one for each server of a worker, opened again after it is lost."""

import asyncio
import contextlib
import hashlib
import json
import os
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping
from typing import Any, TypeVar

import httpx2
import structlog
from mcp import StdioServerParameters
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError
from mcp_types import CallToolResult, Implementation, InputRequiredResult, Tool

from outlast.agents.mcp_servers import McpServer
from outlast.errors import ConnectionLost, NotReady, ToolError
from outlast.text.error_text import error_text
from outlast.text.texts import cut
from outlast.version import __version__
from outlast_activities.providers.redaction import Redactor, clean_api_key

OPEN_WITHIN_S = 30.0
"""Seconds in which a server must answer and list its tools when a worker starts."""

MAX_SERVER_TOOLS = 1_000
"""Tools of one server that a worker reads."""

MAX_RESPONSE_BYTES = 8_000_000
"""Bytes of a response of a server over HTTP."""

LISTED_FOR_S = 60.0
"""Seconds after which a worker lists the tools again before a call."""

MAX_CALLS = 50
"""Calls of one server at once, from one worker. Further calls wait."""

KEPT_FOR_S = 2.0
"""Seconds that an unused HTTP connection is kept: fewer than servers do, which often close it after 5 s. A
request that meets the end of its connection would lose all calls."""

MAX_REASON_BYTES = 300
"""Bytes of the reason of a failed call."""

_Value = TypeVar("_Value")

log = structlog.get_logger("outlast.mcp")


class NotConnected(Exception):
    """Raised if a server is not reached: the call was not sent."""


def pin_of(tool: Tool) -> str:
    """Return the digest of what a model and a person read about a tool."""
    text = json.dumps([tool.name, tool.description, tool.input_schema], sort_keys=True)
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:16]


class McpConnection:
    """The connection to one server. Its calls come from any thread and run on the worker's event loop."""

    def __init__(self, server: McpServer, loop: asyncio.AbstractEventLoop) -> None:
        self.server = server
        self._loop = loop
        self._secret = _secret(server)
        self._redactor = Redactor(self._secret)
        self._client: Client | None = None
        self._lock = asyncio.Lock()
        self._free = asyncio.Semaphore(MAX_CALLS)
        self._stop = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._pins: dict[str, str] = {}
        self._listed_until = 0.0

    async def list_tools(self) -> list[Tool]:
        """Return the tools of the server. Raises `NotReady` with one line if it does not list them."""
        try:
            async with asyncio.timeout(OPEN_WITHIN_S):
                return await self._on_loop(self._listed)
        except TimeoutError:
            reason = f"no answer in {OPEN_WITHIN_S:g} s"
        except (ConnectionLost, NotConnected, ToolError) as error:
            reason = str(error)
        raise NotReady(
            f"MCP server {self.server.name!r} cannot be used ({reason}): start it, or correct its"
            f" {'url' if self.server.url else 'command'}"
        )

    async def is_current(self, tool: str, pin: str) -> bool:
        """Return whether the definition of a tool has the digest `pin`, as the server lists it now.

        A listing counts for `LISTED_FOR_S`, for all runs of the worker.
        """
        if self._loop.time() > self._listed_until:
            await self._on_loop(self._listed)
        return self._pins.get(tool) == pin

    async def call(
        self, tool: str, arguments: dict[str, Any], answers: Mapping[str, Any]
    ) -> CallToolResult | InputRequiredResult:
        """Call a tool. Raises `NotConnected`, `ConnectionLost`, or `ToolError` if it is rejected."""

        async def send(client: Client) -> CallToolResult | InputRequiredResult:
            result: CallToolResult | InputRequiredResult = await client.session.call_tool(
                tool,
                arguments,
                request_state=answers.get("request_state"),
                input_responses=answers.get("input_responses"),
                allow_input_required=True,
            )
            return result

        async def send_in_turn() -> CallToolResult | InputRequiredResult:
            async with self._free:
                return await self._with_client(send)

        return await self._on_loop(send_in_turn)

    def clean(self, text: str) -> str:
        """Return a text of the server without its credentials."""
        return self._redactor.clean(text)

    async def aclose(self) -> None:
        """Close the connection."""
        self._stop.set()
        if self._task is not None:
            await asyncio.wait([self._task], timeout=OPEN_WITHIN_S)

    async def _on_loop(self, call: Callable[[], Coroutine[Any, Any, _Value]]) -> _Value:
        if asyncio.get_running_loop() is self._loop:
            return await call()
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(call(), self._loop))

    async def _listed(self) -> list[Tool]:
        async def listed(client: Client) -> list[Tool]:
            tools: list[Tool] = []
            cursor: str | None = None
            while True:  # bounded: a page without tools ends it, and there is a limit of tools
                page = await client.list_tools(cursor=cursor)
                tools += page.tools
                cursor = page.next_cursor
                if cursor is None or not page.tools or len(tools) > MAX_SERVER_TOOLS:
                    return tools

        tools = await self._with_client(listed)
        self._pins = {tool.name: pin_of(tool) for tool in tools}
        self._listed_until = self._loop.time() + LISTED_FOR_S
        return tools

    async def _with_client(self, call: Callable[[Client], Coroutine[Any, Any, _Value]]) -> _Value:
        client = await self._connected()
        try:
            return await call(client)
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 the SDK raises those of its transports, too
            raise self._failure(error) from None

    def _failure(self, error: Exception) -> Exception:
        """Return what a failed call means: the server rejects it, or the connection is lost."""
        reason = cut(self.clean(error_text(error)), MAX_REASON_BYTES)
        if isinstance(error, MCPError) and error.code in _REJECTED:
            return ToolError(f"the MCP server rejects the call: {reason}")
        self._client = None  # the next call connects again
        self._stop.set()
        return ConnectionLost(
            f"the connection to the MCP server was lost: {reason}", retryable=True
        )

    async def _connected(self) -> Client:
        async with self._lock:
            if self._client is None:
                self._stop = asyncio.Event()
                ready: asyncio.Future[Client] = self._loop.create_future()
                self._task = asyncio.create_task(self._serve(ready, self._stop))
                self._client = await ready
            return self._client

    async def _serve(self, ready: asyncio.Future[Client], stop: asyncio.Event) -> None:
        """Hold a connection open in one task, as the SDK requires."""
        client: Client | None = None
        try:
            async with contextlib.AsyncExitStack() as stack:
                client = await stack.enter_async_context(await self._client_of(stack))
                ready.set_result(client)
                await stop.wait()
        except BaseException as error:
            reason = cut(self.clean(error_text(error)), MAX_REASON_BYTES)
            if not ready.done():
                ready.set_exception(NotConnected(reason))
                return
            if isinstance(error, asyncio.CancelledError):
                raise
            log.warning("mcp.connection_lost", server=self.server.name, reason=reason)
        finally:
            if self._client is client:
                self._client = None

    async def _client_of(self, stack: contextlib.AsyncExitStack) -> Client:
        server = self.server
        info = Implementation(name="outlast", version=__version__)
        if server.command is not None:
            command, *arguments = server.command
            parameters = StdioServerParameters(
                command=command, args=arguments, env=dict(os.environ)
            )
            return Client(parameters, client_info=info)
        headers = {"authorization": f"Bearer {self._secret}"} if self._secret else {}
        http = await stack.enter_async_context(
            httpx2.AsyncClient(
                headers=headers,
                timeout=httpx2.Timeout(10, read=server.timeout.total_seconds()),
                limits=httpx2.Limits(keepalive_expiry=KEPT_FOR_S),
                event_hooks={"response": [_bound_response]},
                follow_redirects=False,  # credentials must not reach another host
            )
        )
        return Client(streamable_http_client(server.url or "", http_client=http), client_info=info)


_REJECTED = frozenset({-32602, -32601, -32600})
"""Codes of JSON-RPC that say that a call is wrong."""


class _Bounded(httpx2.AsyncByteStream):
    """The bytes of a response, at most `MAX_RESPONSE_BYTES`."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for data in self._stream:
            size += len(data)
            if size > MAX_RESPONSE_BYTES:
                raise httpx2.ReadError(f"the server sent more than {MAX_RESPONSE_BYTES:,} bytes")
            yield data

    async def aclose(self) -> None:
        await self._stream.aclose()


async def _bound_response(response: httpx2.Response) -> None:
    response.stream = _Bounded(response.stream)


def _secret(server: McpServer) -> str | None:
    if server.credentials is None:
        return None
    variable = server.credentials.removeprefix("env:")
    try:
        secret = clean_api_key(os.environ.get(variable))
    except ValueError as error:
        raise NotReady(f"MCP server {server.name!r}: the variable {variable} {error}") from None
    if secret is None:
        raise NotReady(f"MCP server {server.name!r}: set the variable {variable}, its credentials")
    return secret


async def close_all(connections: Iterable[McpConnection]) -> None:
    """Close connections at the same time."""
    await asyncio.gather(*(each.aclose() for each in connections), return_exceptions=True)

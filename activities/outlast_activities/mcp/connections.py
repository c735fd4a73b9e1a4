"""Connections to MCP servers: one for each server of a worker, opened again after it is lost."""

import asyncio
import contextlib
import contextvars
import hashlib
import json
import os
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Any, TypeVar
from urllib.parse import urlsplit

import structlog
from mcp import StdioServerParameters
from mcp.client.client import Client
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError
from mcp_types import (
    CONNECTION_CLOSED,
    HEADER_MISMATCH,
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    MISSING_REQUIRED_CLIENT_CAPABILITY,
    CallToolResult,
    Implementation,
    InputRequiredResult,
    Tool,
)
from pydantic import ValidationError

from outlast.agents.mcp_servers import McpServer
from outlast.errors import ConnectionLost, NotReady, ToolError
from outlast.text.error_text import error_text, leaves
from outlast.text.texts import cut
from outlast.version import __version__
from outlast_activities.mcp.transports import NOT_SENT, SESSION_ENDED, http_client, run_transport
from outlast_activities.providers.redaction import Redactor, clean_api_key

OPEN_WITHIN_S = 30.0
"""Seconds in which a server must answer and list its tools, when a worker starts or connects again."""

MAX_SERVER_TOOLS = 1_000
"""Tools of one server that a worker reads."""

MAX_LIST_BYTES = 8_000_000
"""Bytes of the tools of one server that a worker reads, as JSON."""

LISTED_FOR_S = 60.0
"""Seconds after which a worker lists the tools again before a call."""

MAX_CALLS = 50
"""Calls of one server at once, from one worker. Further calls wait."""

MAX_REASON_BYTES = 300
"""Bytes of the reason of a failed call."""

_Value = TypeVar("_Value")

log = structlog.get_logger("outlast.mcp")


class NotConnected(Exception):
    """Raised if a server is not reached, or refuses a request unread: the call was not made."""


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
        self._tools: list[Tool] = []
        self._pins: dict[str, str] = {}
        self._listed_until = 0.0

    async def list_tools(self) -> list[Tool]:
        """Return the tools of the server. Raises `NotReady` with one line if it does not list them."""
        try:
            async with asyncio.timeout(OPEN_WITHIN_S):
                return await self._on_loop(self._current_tools)
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
        try:
            await self._on_loop(self._current_tools)
        except ConnectionLost as error:
            raise NotConnected(str(error)) from None
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

    async def _current_tools(self) -> list[Tool]:
        """Return the tools of the server, which were listed at most `LISTED_FOR_S` ago."""

        async def refreshed(client: Client) -> list[Tool]:
            if self._loop.time() > self._listed_until:
                async with asyncio.timeout(OPEN_WITHIN_S):
                    await self._list(client)
            return self._tools

        return await self._with_client(refreshed)

    async def _list(self, client: Client) -> None:
        tools: list[Tool] = []
        cursor: str | None = None
        size = 0
        while (
            True
        ):  # bounded: a page without tools ends it, and there are limits of tools and of bytes
            page = await client.list_tools(cursor=cursor)
            tools += page.tools
            size += sum(len(tool.model_dump_json()) for tool in page.tools)
            cursor = page.next_cursor
            is_full = len(tools) > MAX_SERVER_TOOLS or size > MAX_LIST_BYTES
            if cursor is None or not page.tools or is_full:
                break
        self._tools = tools
        self._pins = {tool.name: pin_of(tool) for tool in tools}
        self._listed_until = self._loop.time() + LISTED_FOR_S

    async def _with_client(self, call: Callable[[Client], Coroutine[Any, Any, _Value]]) -> _Value:
        client = await self._connected()
        try:
            return await call(client)
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 the SDK raises those of its transports, too
            raise self._failure(error, client) from None

    def _failure(self, error: Exception, client: Client) -> Exception:
        """Return what a failed request means: the server rejects it, or its outcome is unknown."""
        reason, code = self._reason(error), error.code if isinstance(error, MCPError) else None
        if code == NOT_SENT:
            return NotConnected(reason)
        if code in _REJECTED:
            return ToolError(f"the MCP server rejects the call: {reason}")
        if isinstance(error, ValidationError | RuntimeError):
            return ToolError(f"the MCP server answered, but its result cannot be used: {reason}")
        if code not in (None, CONNECTION_CLOSED, SESSION_ENDED):
            return ConnectionLost(f"the MCP server failed in the call: {reason}", retryable=True)
        if self._client is client:
            self._client = None  # the next call connects again
            self._stop.set()
        if code == SESSION_ENDED:
            return NotConnected(reason)
        return ConnectionLost(
            f"the connection to the MCP server was lost: {reason}", retryable=True
        )

    def _reason(self, error: BaseException) -> str:
        """Return the reason of an error in one line: of the first one in a group."""
        if isinstance(error, TimeoutError):
            return f"no answer in {OPEN_WITHIN_S:g} s"
        text = " ".join(error_text(next(leaves(error), error)).split())
        return cut(self.clean(text), MAX_REASON_BYTES)

    async def _connected(self) -> Client:
        async with self._lock:
            if self._client is None:
                self._stop = asyncio.Event()
                ready: asyncio.Future[Client] = self._loop.create_future()
                # In no run's context: the connection outlives the call that opens it, and its trace.
                self._task = asyncio.create_task(
                    self._serve(ready, self._stop), context=contextvars.Context()
                )
                try:
                    self._client = await ready
                except asyncio.CancelledError:
                    self._task.cancel()  # the call has timed out; nobody would close the connection
                    raise
            return self._client

    async def _serve(self, ready: asyncio.Future[Client], stop: asyncio.Event) -> None:
        """Hold a connection open in one task, as the SDK requires."""
        client: Client | None = None
        try:
            async with contextlib.AsyncExitStack() as stack:
                # A server can keep a connection alive, and never answer.
                async with asyncio.timeout(OPEN_WITHIN_S):
                    client = await stack.enter_async_context(await self._client_of(stack))
                    # A client knows which arguments are also headers from a list of its own.
                    await self._list(client)
                ready.set_result(client)
                await stop.wait()
        except BaseException as error:
            reason = self._reason(error)
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
        server, host = self.server, None
        if server.command is not None:
            command, *arguments = server.command
            transport = stdio_client(
                StdioServerParameters(command=command, args=arguments, env=dict(os.environ))
            )
        else:
            http = await stack.enter_async_context(
                http_client(self._secret, server.timeout.total_seconds())
            )
            host = urlsplit(server.url or "").hostname or ""
            transport = streamable_http_client(server.url or "", http_client=http)
        info = Implementation(name="outlast", version=__version__)
        # Without the cache of the SDK: a server could otherwise hide that its tools have changed.
        return Client(run_transport(transport, host), client_info=info, cache=None)


_REJECTED = frozenset(
    {INVALID_PARAMS, METHOD_NOT_FOUND, INVALID_REQUEST}
    | {HEADER_MISMATCH, MISSING_REQUIRED_CLIENT_CAPABILITY}
)
"""Codes of JSON-RPC that say that a call is wrong."""


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

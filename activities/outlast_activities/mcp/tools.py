"""Tools of MCP servers as tools of agents: each is an activity of its own name, as every tool is."""

import asyncio
import base64
import re
from dataclasses import dataclass
from typing import Any

from mcp_types import CallToolResult, InputRequiredResult
from mcp_types import Tool as ServerTool
from pydantic import BaseModel, JsonValue, TypeAdapter

from outlast.agents.mcp_servers import McpServer
from outlast.agents.tool_context import ToolContext
from outlast.agents.tool_options import DEFAULT_AUDIENCE, RESERVED
from outlast.agents.tools import Tool
from outlast.contracts.agents import ToolSpec
from outlast.contracts.human import Approval
from outlast.contracts.names import NAME_PATTERN, mcp_tool_name
from outlast.errors import ConnectionLost, NotReady, ToolError
from outlast.jsonschema.schema_checks import check_schema
from outlast.media.media import File, Image, Media, uploaded
from outlast.temporal.call_headers import CALL_PIN
from outlast.text.hints import hint
from outlast.text.json_text import from_json
from outlast.text.texts import cut
from outlast_activities.mcp.connections import McpConnection, NotConnected, pin_of
from outlast_activities.mcp.server_input import answers_of_people, input_required

MAX_DESCRIPTION_BYTES = 4_000
"""Bytes of the description of a tool: it is part of every prompt."""

MAX_REASON_BYTES = 200
"""Bytes of the reason why a part of a result is left out."""

MAX_ERROR_BYTES = 4_000
"""Bytes of the error of a call that the model reads."""


class _Arguments(BaseModel):
    """The server checks the arguments of its tools."""


async def _called_by_name(*_: Any, **__: Any) -> Any:
    raise NotImplementedError("a tool of an MCP server is called through its connection")


@dataclass(frozen=True)
class McpTool(Tool[Any, ..., Any]):
    """A tool of an MCP server. `server_name` is its name there."""

    connection: McpConnection | None = None
    server_name: str = ""

    @property
    def is_async(self) -> bool:
        """True: the call waits for the server."""
        return True

    @property
    def place(self) -> str:
        """The server."""
        name = self.connection.server.name if self.connection else ""
        return f"tool {self.server_name!r} of the MCP server {name!r}"

    async def invoke_async(
        self, arguments: bytes, context: ToolContext[Any] | None = None
    ) -> bytes:
        """Call the tool on its server, and return its result as JSON.

        Raises `ToolError` for an error that the server reports. An error of the connection passes: the
        effect of the tool decides whether the call is repeated.
        """
        del context
        assert self.connection is not None  # noqa: S101 `tools_of` sets it
        values = from_json(arguments)
        if not isinstance(values, dict):
            raise ToolError(f"{self.name}: the arguments are not a JSON object")
        try:
            await self._check_pin(self.connection)
            result = await self.connection.call(self.server_name, values, answers_of_people())
        except NotConnected as error:
            if self.spec.effect in ("read", "idempotent"):
                raise ConnectionLost(f"{self.name}: {error}", retryable=True) from None
            raise ToolError(f"{self.name}: the call was not made: {error}") from None
        # In a thread: a server can send JSON of so many values that the worker would stop for seconds.
        return await asyncio.to_thread(self._as_json, self.connection, result)

    def _as_json(
        self, connection: McpConnection, result: CallToolResult | InputRequiredResult
    ) -> bytes:
        return self.encoded(_value(self.name, connection, result))

    async def _check_pin(self, connection: McpConnection) -> None:
        """Raise `ToolError` if the definition on the server is not the one that the run pinned."""
        pin = CALL_PIN.get()
        is_strict = connection.server.pin == "strict"
        if pin and is_strict and not await connection.is_current(self.server_name, pin):
            raise ToolError(
                f"{self.name} has changed on its MCP server since this run began, so it cannot be called"
            )


def tools_of(connection: McpConnection, listed: list[ServerTool]) -> list[McpTool]:
    """Return the tools of a server that its definition names, or all of them. Raises `NotReady`."""
    server = connection.server
    by_name = {tool.name: tool for tool in listed}
    wanted = list(by_name) if server.tools is None else list(server.tools)
    for name in (*wanted, *server.effects, *server.approvals):
        if name not in by_name:
            raise NotReady(
                f"MCP server {server.name!r} has no tool {name!r}; {hint(name, sorted(by_name))}"
            )
    return [_tool(connection, by_name[name]) for name in wanted]


def _tool(connection: McpConnection, listed: ServerTool) -> McpTool:
    server = connection.server
    effect = server.effects.get(listed.name, "write")
    spec = ToolSpec(
        name=_name(server, listed.name),
        description=cut(listed.description or listed.title or listed.name, MAX_DESCRIPTION_BYTES),
        parameters=_parameters(server, listed),
        effect=effect,
        approval=_approval(server, listed.name, effect),
        timeout_s=server.timeout.total_seconds(),
        heartbeats=True,
        pin=pin_of(listed),
    )
    return McpTool(
        function=_called_by_name,
        spec=spec,
        arguments=_Arguments,
        result=TypeAdapter(JsonValue),
        connection=connection,
        server_name=listed.name,
    )


def _name(server: McpServer, tool: str) -> str:
    name = mcp_tool_name(server.name, tool)
    if not re.fullmatch(NAME_PATTERN, name) or name in RESERVED:
        raise NotReady(
            f"MCP server {server.name!r}: {cut(name, 100)!r} cannot be the name of a tool: it has more"
            " than 64 characters, or is an activity of outlast; leave the tool out with tools="
        )
    return name


def _parameters(server: McpServer, listed: ServerTool) -> dict[str, Any]:
    schema = {"type": "object", **listed.input_schema}
    try:
        check_schema(schema, f"the parameters of {listed.name!r}", arguments=True)
    except ValueError as error:
        raise NotReady(
            f"MCP server {server.name!r}: {cut(str(error), 300)}; leave the tool out with tools="
        ) from None
    return schema


def _approval(server: McpServer, tool: str, effect: str) -> Approval | None:
    approval = server.approvals.get(tool)
    if isinstance(approval, str):
        return Approval(audience=approval)
    if approval is None and effect == "irreversible":
        return Approval(audience=DEFAULT_AUDIENCE)
    return approval


def _value(
    name: str, connection: McpConnection, result: CallToolResult | InputRequiredResult
) -> JsonValue:
    """Return the value of a result: its structured content, or else its text."""
    if isinstance(result, InputRequiredResult):
        raise input_required(name, result)
    parts = [_part(part) for part in result.content]
    media = [part.reference for part in parts if isinstance(part, Media)]
    texts = [part.reference if isinstance(part, Media) else part for part in parts]
    text = connection.clean("\n".join(texts))
    if result.is_error:
        raise ToolError(cut(text or f"{name} failed without a reason", MAX_ERROR_BYTES))
    if result.structured_content is None:
        return text
    value: JsonValue = from_json(
        connection.clean(TypeAdapter(Any).dump_json(result.structured_content).decode())
    )
    return [value, *media] if media else value


def _part(part: Any) -> str | Media:
    """Return a part of a result: its text, or an image or a file, which is stored."""
    if part.type == "text":
        return str(part.text)
    source = part.resource if part.type == "resource" else part
    kind = getattr(source, "mime_type", None) or part.type
    data = getattr(source, "data", None) or getattr(source, "blob", None)
    if data is None and getattr(source, "text", None) is not None:
        return str(source.text)
    make = Image if kind.startswith("image/") else File
    if not isinstance(data, str) or (make is File and kind != "application/pdf"):
        return f"[{kind}: left out: it is neither an image nor a PDF file]"
    try:
        media = make.from_bytes(base64.b64decode(data, validate=True), kind)
        uploaded(media)
    except ValueError as error:
        return f"[{kind}: left out: {cut(str(error), MAX_REASON_BYTES)}]"
    return media

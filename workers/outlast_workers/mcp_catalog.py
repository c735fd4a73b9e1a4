"""The tools of MCP servers in the catalog of a worker, which lists them once when it starts."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog

from outlast.agents.catalog import Catalog
from outlast.errors import DefinitionError, NotReady

log = structlog.get_logger("outlast.mcp")


@asynccontextmanager
async def with_mcp_tools(catalog: Catalog) -> AsyncIterator[Catalog]:
    """Yield the catalog with the tools of its MCP servers, and keep their connections open meanwhile.

    Raises `NotReady` with one line for a server that cannot be used.
    """
    try:
        servers = catalog.mcp_servers
    except DefinitionError as error:
        raise NotReady(f"--agents: {error}") from error
    if not servers:
        yield catalog
        return
    # Imported here, because most workers have no MCP servers.
    from outlast_activities.mcp.connections import McpConnection, close_all  # noqa: PLC0415
    from outlast_activities.mcp.tools import tools_of  # noqa: PLC0415

    loop = asyncio.get_running_loop()
    connections = {name: McpConnection(server, loop) for name, server in servers.items()}
    try:
        listed = await asyncio.gather(*(each.list_tools() for each in connections.values()))
        tools = {
            name: tools_of(connection, of_server)
            for (name, connection), of_server in zip(connections.items(), listed, strict=True)
        }
        log.info("mcp.listed", servers={name: len(found) for name, found in tools.items()})
        try:
            more = catalog.with_mcp_tools(tools)
        except DefinitionError as error:
            raise NotReady(f"--agents: {error}") from error
        yield more
    finally:
        await close_all(connections.values())

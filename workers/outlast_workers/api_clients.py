"""The clients of the HTTP APIs whose operations are tools: dependencies that a worker opens and closes."""

from collections.abc import AsyncIterator, Iterable
from typing import Any

from outlast.agents.dependencies import Dependency
from outlast.agents.openapi.openapi_tools import OpenApiTool
from outlast.agents.openapi.operations import Api
from outlast.agents.tools import Tool


def api_clients(tools: Iterable[Tool[Any, ..., Any]]) -> dict[str, Dependency[Any]]:
    """Return the dependency of each tool of an HTTP API, by the name of the tool."""
    apis = {tool.name: tool.api for tool in tools if isinstance(tool, OpenApiTool)}
    clients = {api: _client(api, at) for at, api in enumerate(dict.fromkeys(apis.values()), 1)}
    return {name: clients[api] for name, api in apis.items()}


def _client(api: Api, number: int) -> Dependency[Any]:
    async def opened() -> AsyncIterator[Any]:
        # Imported here, because most workers call no HTTP APIs.
        from outlast_activities.openapi.client import open_api  # noqa: PLC0415

        async with open_api(api) as client:
            yield client

    opened.__name__ = f"{api.server} ({number})"
    return Dependency(opened)

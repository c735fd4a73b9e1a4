"""The clients of the HTTP APIs whose operations are tools: dependencies that a worker opens and closes."""

from collections.abc import AsyncIterator, Iterable
from typing import TYPE_CHECKING, Any

from outlast.agents.dependencies import Dependency
from outlast.agents.tools import Tool
from outlast.contracts.http_tools import HTTP_TOOLS
from outlast_workers.settings_sections.http import HttpSettings

if TYPE_CHECKING:
    from outlast.agents.openapi.operations import Api


def api_clients(tools: Iterable[Tool[Any, ..., Any]]) -> dict[str, Dependency[Any]]:
    """Return the dependency of each tool of an HTTP API, by the name of the tool."""
    apis = {tool.name: tool.api for tool in tools if tool.api is not None}
    clients = {api: _client(api, at) for at, api in enumerate(dict.fromkeys(apis.values()), 1)}
    return {name: clients[api] for name, api in apis.items()}


def _client(api: "Api", number: int) -> Dependency[Any]:
    async def opened() -> AsyncIterator[Any]:
        # Imported here, because most workers call no HTTP APIs.
        from outlast_activities.openapi.client import open_api  # noqa: PLC0415

        async with open_api(api) as client:
            yield client

    opened.__name__ = f"{api.server} ({number})"
    return Dependency(opened)


def pipeline_client(settings: HttpSettings) -> dict[str, Dependency[Any]]:
    """Return the dependency of the HTTP calls of pipelines by activity, or none if none is allowed."""
    if not settings.hosts:
        return {}

    async def opened() -> AsyncIterator[Any]:
        # Imported here, because most workers make no HTTP calls.
        from outlast_activities.http_calls.allowlist import Allowlist  # noqa: PLC0415
        from outlast_activities.http_calls.client import (  # noqa: PLC0415
            Secret,
            open_pipeline_client,
        )

        secrets = {
            name: Secret(secret.variable, frozenset(secret.origins))
            for name, secret in settings.secrets.items()
        }
        allowlist = Allowlist(settings.origins, settings.networks)
        async with open_pipeline_client(allowlist, secrets) as client:
            yield client

    opened.__name__ = "the HTTP calls of pipelines"
    client: Dependency[Any] = Dependency(opened)
    return dict.fromkeys((tool.name for tool in HTTP_TOOLS), client)

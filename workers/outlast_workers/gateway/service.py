"""`outlast worker gateway`: runs over HTTP, for clients that do not use Temporal. It keeps no state."""

import asyncio
import contextlib
import gc
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus

import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from outlast.agents.agent import Agent
from outlast.client.client import Client
from outlast.errors import NotReady, OutlastError
from outlast.text.texts import cut
from outlast_workers.catalog import load_catalog
from outlast_workers.connection import connect
from outlast_workers.gateway.a2a.api import A2aApi
from outlast_workers.gateway.access import LOOPBACK
from outlast_workers.gateway.agui_api import AguiApi
from outlast_workers.gateway.ai_sdk.api import AiSdkApi
from outlast_workers.gateway.completions.api import CompletionsApi
from outlast_workers.gateway.front import Authenticated, Front
from outlast_workers.gateway.http_messages import error_at, status_of
from outlast_workers.gateway.hub_api import HubApi
from outlast_workers.gateway.mcp_api import McpApi
from outlast_workers.gateway.responses_api import ResponsesApi
from outlast_workers.gateway.runs_api import RunsApi
from outlast_workers.settings import Settings
from outlast_workers.settings_sections.gateway import GatewaySettings
from outlast_workers.telemetry import start_telemetry
from outlast_workers.web import WithHeaders, open_listener, serve

MAX_DESCRIPTION_BYTES = 300
"""Bytes of the description of an agent without one: the beginning of its instructions."""

SERVICE_NAME = "outlast-gateway"
"""The name of the gateway in traces."""

HEADERS = {"x-content-type-options": "nosniff", "cache-control": "no-store"}

log = structlog.get_logger("outlast.gateway")


async def run_gateway(settings: Settings, *, stop: asyncio.Event) -> int:
    """Serve until `stop` is set; raises `NotReady` without agents, tokens, a port or Temporal."""
    gateway = settings.gateway
    agents = served_agents(load_catalog(settings.agents).agents, gateway)
    check_tokens(gateway)
    telemetry = start_telemetry(settings, service_name=SERVICE_NAME)
    try:
        listener = open_listener(gateway.host, gateway.port, name="the gateway", key="gateway.port")
        with contextlib.closing(listener):
            client = Client(await connect(plugins=[settings.payloads.plugin(), *telemetry.plugins]))
            front = Front.of(client, settings, agents)
            log.info("gateway.started", host=gateway.host, port=gateway.port, agents=sorted(agents))
            stopping = asyncio.create_task(_stop_feeds(front, stop))
            async with gateway_app(front) as app:
                # What is loaded by now stays. To search it for garbage stops all streams for 0.1 s or more.
                gc.freeze()
                await serve(
                    telemetry.with_spans(app),
                    listener,
                    stop=stop,
                    max_connections=gateway.max_connections,
                )
            stopping.cancel()
        log.info("gateway.stopped")
    finally:
        telemetry.shutdown()
    return 0


async def _stop_feeds(front: Front, stop: asyncio.Event) -> None:
    await stop.wait()
    front.feeds.stop()


def served_agents(agents: Mapping[str, Agent], settings: GatewaySettings) -> dict[str, str]:
    """Return the descriptions of the agents that may be started; raises `NotReady` for an unknown name."""
    names = settings.agents if settings.agents is not None else tuple(agents)
    for name in names:
        if name not in agents:
            raise NotReady(
                f"gateway.agents: {name!r} is not an agent of the modules in `agents`;"
                f" known agents: {', '.join(sorted(agents)) or 'none'}"
            )
    if not names:
        raise NotReady("the gateway has no agents: name their modules with --agents")
    return {name: _description(agents[name]) for name in names}


def _description(agent: Agent) -> str:
    return agent.description or cut(agent.summary, MAX_DESCRIPTION_BYTES)


def check_tokens(settings: GatewaySettings) -> None:
    """Raise `NotReady` if the gateway would serve other machines without tokens."""
    if not settings.has_principals and settings.host not in LOOPBACK:
        raise NotReady(
            f"the gateway would serve other machines on {settings.host} without tokens: set"
            " gateway.tokens or gateway.oidc, or gateway.host to 127.0.0.1"
        )


@asynccontextmanager
async def gateway_app(front: Front) -> AsyncIterator[Starlette]:
    """Yield the application. The interface of MCP needs a task group while it serves."""
    settings = front.settings
    mcp = McpApi(front)
    app = Starlette(
        routes=[
            Route("/healthz", _health),
            *HubApi(front).routes(),
            *RunsApi(front).routes(),
            *ResponsesApi(front).routes(),
            *CompletionsApi(front).routes(),
            *AguiApi(front).routes(),
            *AiSdkApi(front).routes(),
            *A2aApi(front).routes(),
            *mcp.routes(),
        ],
        exception_handlers={HTTPException: _http_error, OutlastError: _error},
        middleware=[
            Middleware(WithHeaders, headers=HEADERS),
            Middleware(
                CORSMiddleware,
                allow_origins=list(settings.origins),
                allow_methods=["GET", "POST", "DELETE"],
                allow_headers=["*"],
            ),
            Middleware(Authenticated, settings=settings),
        ],
    )
    # A redirect would name the host of the client, without TLS: it could carry the token there.
    app.router.redirect_slashes = False
    ended: Exception | None = None
    async with mcp.server.session_manager.run():
        try:
            yield app
        except Exception as error:  # noqa: BLE001 a task group would wrap it; it is raised below
            ended = error
    if ended is not None:
        raise ended


async def _health(_: Request) -> Response:
    return PlainTextResponse("ok")


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 Starlette passes what is registered
    detail = error.detail
    if error.status_code == HTTPStatus.NOT_FOUND and detail == HTTPStatus.NOT_FOUND.phrase:
        detail = "there is no such path; see docs/gateway.md"
    return error_at(request.url.path, error.status_code, detail, error.headers)


async def _error(request: Request, error: Exception) -> Response:
    assert isinstance(error, OutlastError)  # noqa: S101 Starlette passes what is registered
    return error_at(request.url.path, status_of(error), str(error))

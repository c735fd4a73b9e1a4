"""The gateway of `outlast worker dev`, on loopback, and its token in the state folder."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from outlast.client.client import Client
from outlast_workers.catalog import load_catalog
from outlast_workers.connection import connect
from outlast_workers.gateway.front import Front
from outlast_workers.gateway.service import gateway_app, served_agents
from outlast_workers.local.ports import HOST
from outlast_workers.settings import Settings
from outlast_workers.settings_sections.gateway import (
    MIN_TOKEN,
    EventsSettings,
    GatewayToken,
)
from outlast_workers.web import open_listener, serve_in_background

PRINCIPAL = "dev"
"""The principal of the token that `dev` prints. It may decide all requests of the tenant `default`."""

TOKEN_FILE = "gateway-token"  # noqa: S105 the name of a file
"""The file of the token in the state folder, so that a client that was set up once works again."""


@dataclass(frozen=True)
class DevGateway:
    """Where the gateway of `dev` listens, the token for it, and the settings of the worker beside it."""

    url: str
    token: str
    settings: Settings


def with_gateway(settings: Settings, *, port: int, state: Path) -> DevGateway:
    """Return the settings with a gateway on loopback, to which the worker pushes the text of answers."""
    given = settings.gateway
    token = GatewayToken.model_validate(
        {"token": _saved_token(state / TOKEN_FILE), "tenant": "default", "audiences": ("*",)}
    )
    tokens = {PRINCIPAL: token, **given.tokens}
    events_token = (
        given.events_token or EventsSettings.model_validate({"token": _new_token()}).token
    )
    gateway = given.model_copy(
        update={"host": HOST, "port": port, "tokens": tokens, "events_token": events_token}
    )
    url = f"http://{HOST}:{port}"
    events = settings.events
    if not events.urls:
        events = events.model_copy(update={"urls": (url,), "token": events_token})
    return DevGateway(
        url,
        tokens[PRINCIPAL].token.get_secret_value(),
        settings.with_options({"gateway": gateway, "events": events}),
    )


@asynccontextmanager
async def serve_gateway(gateway: DevGateway, *, address: str) -> AsyncIterator[None]:
    """Serve the agents of the settings over HTTP while the block runs. `address` is Temporal's."""
    settings = gateway.settings.gateway
    agents = served_agents(load_catalog(gateway.settings.agents).agents, settings)
    temporal = await connect(
        address=address, use_profile=False, plugins=[gateway.settings.payloads.plugin()]
    )
    front = Front.of(Client(temporal), gateway.settings, agents)
    with open_listener(
        settings.host, settings.port, name="the gateway", key="gateway.port"
    ) as port:
        async with gateway_app(front) as app, serve_in_background(app, port):
            try:
                yield
            finally:
                front.feeds.stop()


def _saved_token(file: Path) -> str:
    """Return the token of the file, or write a new one that only this user can read."""
    try:
        token = file.read_text(encoding="ascii").strip()
    except (FileNotFoundError, UnicodeDecodeError):
        token = ""
    if len(token) < MIN_TOKEN:
        token = _new_token()
        file.parent.mkdir(parents=True, exist_ok=True)
        file.unlink(missing_ok=True)  # others may read a file that something else has made
        file.touch(mode=0o600, exist_ok=False)
        file.write_text(token + "\n", encoding="ascii")
    return token


def _new_token() -> str:
    return secrets.token_urlsafe(24)

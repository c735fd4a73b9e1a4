"""A gateway before a staged worker, for tests of its interfaces."""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
import openai
from outlast_workers.gateway.front import Front
from outlast_workers.gateway.service import gateway_app, served_agents
from outlast_workers.settings import Settings
from outlast_workers.settings_sections.gateway import EventsSettings, GatewaySettings
from outlast_workers.settings_sections.media import MediaSettings
from outlast_workers.web import open_listener, serve_in_background
from temporalio.client import Client as TemporalClient

from outlast import Agent
from outlast.client.client import Client
from outlast.contracts.names import AGENTS_QUEUE
from outlast.model_server import ModelServer
from tests.stage import on_stage, staged_settings

TOKENS: dict[str, Any] = {
    "ann": {"token": "ann-has-a-long-token", "tenant": "acme", "audiences": ["leads"]},
    "bob": {"token": "bob-has-a-long-token", "tenant": "acme"},
    "eve": {"token": "eve-has-a-long-token", "tenant": "evil", "audiences": ["*"]},
}


@dataclass
class Doors:
    """Clients of one gateway: one for each principal, and one without a token."""

    front: Front
    url: str

    def client(self, name: str = "ann", **headers: str) -> httpx2.AsyncClient:
        bearer = {"authorization": f"Bearer {TOKENS[name]['token']}"} if name else {}
        return httpx2.AsyncClient(base_url=self.url, headers={**bearer, **headers}, timeout=30)


@asynccontextmanager
async def openai_client(gateway: Doors, name: str = "ann") -> AsyncIterator[openai.AsyncOpenAI]:
    """Yield OpenAI's client of a gateway."""
    async with gateway.client(name) as http:
        yield openai.AsyncOpenAI(
            api_key=http.headers["authorization"].removeprefix("Bearer "),
            base_url=f"{gateway.url}/v1",
            http_client=http,
            max_retries=0,
        )


EVENTS_TOKEN = "workers-have-a-long-token"  # noqa: S105 of tests


def gateway_settings(**fields: Any) -> GatewaySettings:
    return GatewaySettings.model_validate(
        {"tokens": TOKENS, "events_token": EVENTS_TOKEN, **fields}
    )


@asynccontextmanager
async def doors(
    temporal: TemporalClient,
    model: ModelServer | Mapping[str, Any],
    agents: Iterable[Agent[Any, Any]],
    media: MediaSettings | None = None,
    hubs: Sequence[str] = (),
    **settings: Any,
) -> AsyncIterator[Doors]:
    """Serve agents. The worker pushes texts to the gateway, and to further `hubs`."""
    listed = list(agents)
    staged = staged_settings(cached=1000)
    queues = staged.queues.model_copy(update={"workflows": AGENTS_QUEUE})
    gateway = gateway_settings(**settings)
    by_name = {agent.name: agent for agent in listed}
    served = served_agents(by_name, gateway)
    media = media or MediaSettings()
    front = Front.of(Client(temporal), Settings(gateway=gateway, media=media), served)
    with open_listener("127.0.0.1", 0, name="the gateway", key="gateway.port") as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        events = EventsSettings.model_validate({"urls": [*hubs, url], "token": EVENTS_TOKEN})
        worker = staged.model_copy(update={"queues": queues, "events": events, "media": media})
        async with (
            on_stage(temporal, model, listed, settings=worker),
            gateway_app(front) as app,
            serve_in_background(app, listener),
        ):
            yield Doors(front, url)

"""What every interface of the gateway shares: authentication, rates, and the runs of the principal."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Self

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from outlast.client.client import Client
from outlast.client.media import ClientMedia
from outlast.errors import Unavailable
from outlast_workers.gateway.access import RateLimit, Tokens, is_local
from outlast_workers.gateway.answer_hub import AnswerHub
from outlast_workers.gateway.http_messages import error_at
from outlast_workers.gateway.message_media import GatewayMedia
from outlast_workers.gateway.principals import LOCAL, Principal, Unauthorized
from outlast_workers.gateway.run_feeds import MAX_FEEDS, RunFeeds
from outlast_workers.gateway.shares import Shares, tenant_share
from outlast_workers.gateway.tenant_runs import TenantRuns
from outlast_workers.settings import Settings
from outlast_workers.settings_sections.gateway import GatewaySettings

OPEN_PATHS = frozenset({"/healthz", "/hub/answers"})
"""Paths that need no token of a principal. The hub checks the token of workers itself."""

PRINCIPAL = "outlast.principal"
"""The key of the principal in the scope of a request."""


@dataclass(frozen=True)
class Front:
    """The state of a gateway process: a client, the readers of runs that are followed now, and the hub.

    `agents` are the descriptions of the agents that may be started, by name.
    """

    client: Client
    settings: GatewaySettings
    agents: Mapping[str, str]
    hub: AnswerHub = field(default_factory=AnswerHub)
    media: GatewayMedia = field(default_factory=GatewayMedia)
    feeds: RunFeeds = field(init=False)

    def __post_init__(self) -> None:
        """Read the text of answers from the hub."""
        most = int(tenant_share(self.settings) * MAX_FEEDS)
        object.__setattr__(self, "feeds", RunFeeds(self.client, self.hub, most))

    @classmethod
    def of(cls, client: Client, settings: Settings, agents: Mapping[str, str]) -> Self:
        """Return the state of the gateway of a process."""
        media, store = settings.media, None
        if media.store is not None:
            store = ClientMedia(client.temporal, media.store)
        gateway_media = GatewayMedia(store, frozenset(media.url_hosts))
        return cls(client, settings.gateway, agents, media=gateway_media)

    def runs(self, request: Request) -> TenantRuns:
        """Return the runs that the principal of a request may use."""
        return self.runs_of(request.scope[PRINCIPAL])

    def runs_of(self, principal: Principal) -> TenantRuns:
        """Return the runs that a principal may use."""
        return TenantRuns(self.client, principal, self.agents)


class Authenticated:
    """Rejects requests without a valid token, too many requests, and requests of foreign web pages."""

    def __init__(self, app: ASGIApp, settings: GatewaySettings) -> None:
        self._app = app
        self._tokens = Tokens(settings)
        self._rate = RateLimit(settings.requests_per_minute)
        self._shares = Shares.of(settings)
        self._origins = frozenset(settings.origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on with its principal, or answer with an error."""
        if scope["type"] != "http" or scope["path"] in OPEN_PATHS:
            await self._app(scope, receive, send)
            return
        headers, path = Headers(scope=scope), str(scope["path"])
        try:
            principal = await self._tokens.principal(headers.get("authorization"))
        except Unauthorized as error:
            bearer = {"www-authenticate": "Bearer"}
            response = error_at(path, HTTPStatus.UNAUTHORIZED, str(error), bearer)
            await response(scope, receive, send)
            return
        except Unavailable as error:
            response = error_at(path, HTTPStatus.SERVICE_UNAVAILABLE, str(error))
            await response(scope, receive, send)
            return
        if principal is LOCAL and not is_local(headers, self._origins):
            response = error_at(
                path,
                HTTPStatus.FORBIDDEN,
                "without tokens, the gateway answers this machine only: set gateway.tokens",
            )
        elif (wait_s := self._rate.wait_s(principal.tenant, principal.name)) is not None:
            response = error_at(
                path,
                HTTPStatus.TOO_MANY_REQUESTS,
                f"too many requests: at most {self._rate.per_minute:,} in a minute",
                {"retry-after": str(wait_s)},
            )
        elif (opened := self._shares.open(principal.tenant)) is None:
            response = error_at(
                path,
                HTTPStatus.TOO_MANY_REQUESTS,
                f"the tenant has {self._shares.max_requests:,} open requests: end some, such as streams",
                {"retry-after": "1"},
            )
        else:
            scope[PRINCIPAL] = principal
            try:
                await self._app(scope, opened.receive(receive), opened.send(send))
            finally:
                opened.close()
            return
        await response(scope, receive, send)

"""Settings of the gateway, and of workers that push the text of answers to it."""

import re
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, model_validator
from pydantic_core import PydanticCustomError

from outlast.contracts.base import InputModel
from outlast.contracts.human import AudienceName
from outlast.contracts.names import Name
from outlast.contracts.requests import Tenant
from outlast_workers.settings_sections.setting_types import (
    MAX_SETTING_S,
    Host,
    PersonName,
    Port,
    Url,
    distinct,
    split,
    valid_url,
)

MIN_TOKEN = 16
"""Characters of a token: fewer can be guessed."""

MAX_TOKEN = 4_000
"""Characters of a token in the settings. Longer ones do not fit into the header of a request."""

ClaimName = Annotated[str, Field(min_length=1, max_length=200)]

Token = Annotated[SecretStr, Field(min_length=MIN_TOKEN, max_length=MAX_TOKEN)]


class GatewayToken(InputModel):
    """A principal of the gateway: its bearer token, its tenant, and the audiences for which it decides."""

    token: Token
    tenant: Tenant
    audiences: Annotated[
        tuple[AudienceName, ...],
        BeforeValidator(split),
        AfterValidator(distinct),
    ] = ()
    """`*` stands for all audiences."""


Algorithm = Literal[
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "Ed25519"
]
"""Signatures with a private key of the issuer. HMAC and `none` are not among them on purpose."""

MAX_LEEWAY_S = 300
"""The most that the clocks of an issuer and a gateway may differ."""


def _secure_url(url: str) -> str:
    parts = urlsplit(valid_url(url))
    if parts.scheme != "https" and parts.hostname not in ("127.0.0.1", "::1", "localhost"):
        raise PydanticCustomError(
            "secure_url", "must be https://…: over http, anybody on the way can replace the keys"
        )
    return url


class OidcSettings(InputModel):
    """An issuer of OpenID Connect whose tokens the gateway accepts. Claims name the principal."""

    issuer: Annotated[str, Field(min_length=1, max_length=1_000)]
    """The exact value of the claim `iss`."""
    audience: Annotated[str, Field(min_length=1, max_length=1_000)]
    """A value of the claim `aud`, so that tokens for other services are rejected."""
    jwks_url: Annotated[str, AfterValidator(_secure_url)] | None = None
    """The URL of the issuer's public keys: `jwks_uri` of its discovery document."""
    jwks_file: Annotated[str, Field(min_length=1)] | None = None
    """A file with the public keys, in place of the URL."""
    algorithms: Annotated[
        tuple[Algorithm, ...],
        BeforeValidator(split),
        AfterValidator(distinct),
        Field(min_length=1),
    ] = ("RS256", "ES256")
    principal_claim: ClaimName = "sub"
    tenant_claim: ClaimName = "tenant"
    tenant: Tenant | None = None
    """The tenant of all principals, in place of a claim."""
    audiences_claim: ClaimName = "audiences"
    """A list, or words: the audiences for which a principal decides. Often `groups` or `roles`."""
    leeway_s: int = Field(default=60, ge=0, le=MAX_LEEWAY_S)
    """How much the clocks of the issuer and the gateway may differ."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.jwks_url is None) == (self.jwks_file is None):
            raise PydanticCustomError("one_source", "needs either jwks_url or jwks_file")
        return self


def _different_tokens(tokens: dict[str, GatewayToken]) -> dict[str, GatewayToken]:
    if len({token.token.get_secret_value() for token in tokens.values()}) < len(tokens):
        raise PydanticCustomError("one_token", "has one token twice: each principal needs its own")
    return tokens


def _valid_origin(origin: str) -> str:
    if not re.fullmatch(r"https?://[^/?#\s*]+", valid_url(origin)):
        raise PydanticCustomError("origin", "must be http://HOST or https://HOST, without a path")
    return origin


def _public_url(url: str) -> str:
    if any(mark in valid_url(url) for mark in "?#\\"):
        raise PydanticCustomError("public_url", "must end with a host or a path, without ? and #")
    return url.rstrip("/")


class GatewaySettings(InputModel):
    """The gateway: where it listens, who may use it, and which agents it starts."""

    host: Host = "127.0.0.1"
    port: Port = 8060
    public_url: Annotated[str, Field(max_length=2_000), AfterValidator(_public_url)] | None = None
    """The URL under which clients reach the gateway, if a proxy is in front. Agent cards of A2A name it."""
    tokens: Annotated[dict[PersonName, GatewayToken], AfterValidator(_different_tokens)] = Field(
        default_factory=dict
    )
    """The principals by name. Without any, and without `oidc`, the gateway answers its own machine only."""
    oidc: OidcSettings | None = None
    """An issuer whose tokens name more principals."""
    events_token: Token | None = None
    """The token of workers that push the text of answers: `events.token` of their settings."""
    agents: Annotated[tuple[Name, ...], BeforeValidator(split), AfterValidator(distinct)] | None = (
        None
    )
    """The agents that clients may start. Unset, all agents of the modules in `agents`."""
    origins: Annotated[
        tuple[Annotated[str, AfterValidator(_valid_origin)], ...], BeforeValidator(split)
    ] = ()
    """Origins of web pages that may use the gateway (CORS)."""
    requests_per_minute: int = Field(default=600, ge=1, le=1_000_000)
    """Requests of one principal in a minute."""
    max_connections: int = Field(default=2_000, ge=1, le=100_000)
    """Open connections. Each client that follows a run keeps one open."""
    idle_s: float = Field(default=3_600, gt=0, le=MAX_SETTING_S)
    """Seconds that a conversation of `/v1` waits for the next message before it ends."""

    @property
    def has_principals(self) -> bool:
        """Whether requests need a token."""
        return bool(self.tokens) or self.oidc is not None


MAX_GATEWAYS = 8
"""Gateways to which a worker pushes the text of answers."""


class EventsSettings(InputModel):
    """Where a worker pushes the text of answers while a model writes them. Without `urls`, it does not."""

    urls: Annotated[
        tuple[Url, ...],
        BeforeValidator(split),
        AfterValidator(distinct),
        Field(max_length=MAX_GATEWAYS),
    ] = ()
    """Base URLs of gateways, all of them: each gateway shows its clients what it has got itself."""
    token: Token | None = None
    """The `gateway.events_token` of the gateways."""

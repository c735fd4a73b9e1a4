"""Settings of the gateway, and of workers that push the text of answers to it."""

import re
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr
from pydantic_core import PydanticCustomError

from outlast.contracts.base import InputModel
from outlast.contracts.human import MAX_AUDIENCE
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

Token = Annotated[SecretStr, Field(min_length=MIN_TOKEN, max_length=MAX_TOKEN)]


class GatewayToken(InputModel):
    """A principal of the gateway: its bearer token, its tenant, and the audiences for which it decides."""

    token: Token
    tenant: Tenant
    audiences: Annotated[
        tuple[Annotated[str, Field(min_length=1, max_length=MAX_AUDIENCE)], ...],
        BeforeValidator(split),
        AfterValidator(distinct),
    ] = ()
    """`*` stands for all audiences."""


def _different_tokens(tokens: dict[str, GatewayToken]) -> dict[str, GatewayToken]:
    if len({token.token.get_secret_value() for token in tokens.values()}) < len(tokens):
        raise PydanticCustomError("one_token", "has one token twice: each principal needs its own")
    return tokens


def _valid_origin(origin: str) -> str:
    if not re.fullmatch(r"https?://[^/?#\s*]+", valid_url(origin)):
        raise PydanticCustomError("origin", "must be http://HOST or https://HOST, without a path")
    return origin


class GatewaySettings(InputModel):
    """The gateway: where it listens, who may use it, and which agents it starts."""

    host: Host = "127.0.0.1"
    port: Port = 8060
    tokens: Annotated[dict[PersonName, GatewayToken], AfterValidator(_different_tokens)] = Field(
        default_factory=dict
    )
    """The principals by name. Without any, the gateway answers its own machine only."""
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
    idle_s: float = Field(default=3_600, gt=0, le=MAX_SETTING_S)
    """Seconds that a conversation of `/v1` waits for the next message before it ends."""


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

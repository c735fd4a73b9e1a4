"""The sections of the settings: one model for each table of `outlast.toml`."""

import base64
import re
from collections.abc import Callable
from typing import Annotated, Self
from urllib.parse import urlsplit

from outlast_activities.constraints.engines import Engine
from outlast_activities.providers.redaction import clean_api_key
from outlast_activities.providers.registry import adapter_of
from pydantic import (
    AfterValidator,
    AnyHttpUrl,
    BaseModel,
    BeforeValidator,
    Field,
    SecretStr,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticCustomError

from outlast.contracts.agents import Effort, Price, Route, Way
from outlast.contracts.base import InputModel
from outlast.contracts.human import MAX_AUDIENCE, MAX_BY
from outlast.contracts.names import Name
from outlast.contracts.requests import Tenant
from outlast.text.texts import folded_name
from outlast_workers.public_keys import PublicKey

MAX_SETTING_S = 31_536_000
"""A year: the longest time of a setting. Infinity and larger numbers overflow in timers."""

MAX_CONCURRENCY = 10_000
"""The most concurrent tasks, or cached runs, of one process: each takes memory, and a thread or a slot."""

MAX_COMPLETION_TOKENS = 10_000_000
"""The most tokens of a completion. No model writes as many."""

MAX_PROFILE_NAME = 64
"""Characters of the name of a profile."""

VERSION_VARIABLES = {
    "deployment_name": "TEMPORAL_DEPLOYMENT_NAME",
    "build_id": "TEMPORAL_WORKER_BUILD_ID",
}


_HTTP_URL: TypeAdapter[AnyHttpUrl] = TypeAdapter(AnyHttpUrl)


def split(value: object) -> object:
    """Split `a,b`, as variables have it, into the list that TOML has."""
    if isinstance(value, str):
        return [word.strip() for word in value.split(",") if word.strip()]
    return value


def distinct(words: tuple[str, ...]) -> tuple[str, ...]:
    """Reject a list that has a value twice."""
    if len(set(words)) < len(words):
        raise PydanticCustomError("repeated", "has a value twice")
    return words


def _valid_url(url: str) -> str:
    # Error messages hold the URL, and histories hold error messages: no passwords.
    if not re.match(r"https?://[^/@?#\s]+(/|$)", url) or not url.isprintable():
        raise PydanticCustomError("url", "must be http://… or https://…, without user and password")
    try:
        has_port = urlsplit(url).port != 0
    except ValueError:
        has_port = False
    if not has_port:
        raise PydanticCustomError("url", "must have a valid host, and a port from 1 to 65535")
    try:
        _HTTP_URL.validate_python(url)
    except ValidationError:
        raise PydanticCustomError("url", "must have a valid host") from None
    return url


def _valid_host(host: str) -> str:
    """Accept a name or an address without a port. A process finds out later whether it exists."""
    try:
        host.encode("idna")
    except UnicodeError:
        host = ""
    if not re.fullmatch(r"[^\s/@?#\[\]]+", host) or not host.isprintable():
        raise PydanticCustomError("host", "must be a host name or an address, without a port")
    return host


def lower(value: object) -> object:
    """Return text in lower case, so that case does not matter."""
    return value.lower() if isinstance(value, str) else value


def _strict(model: type[BaseModel]) -> Callable[[object], BaseModel]:
    """Return a validator that rejects unknown keys of a model. Between workers, they are ignored."""

    def validate(value: object) -> BaseModel:
        try:
            return model.model_validate(value, extra="forbid")
        except ValidationError as error:
            # A bare ValidationError would lose the location within the value.
            raise PydanticCustomError("nested", "is invalid", {"errors": error.errors()}) from None

    return validate


def _valid_server_url(url: str) -> str:
    parts = urlsplit(_valid_url(url))
    if parts.query or parts.fragment:
        raise PydanticCustomError("url", "must have no query: a key belongs into api_key")
    return url


def _header_key_or_none(key: SecretStr | None) -> SecretStr | None:
    try:
        cleaned = clean_api_key(key.get_secret_value() if key else None)
    except ValueError as error:
        raise PydanticCustomError("key", "{reason}", {"reason": str(error)}) from None
    return SecretStr(cleaned) if cleaned else None


Module = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_.]*$")]
QueueName = Annotated[str, Field(min_length=1)]
Url = Annotated[str, AfterValidator(_valid_url)]
Host = Annotated[str, AfterValidator(_valid_host)]
ServerUrl = Annotated[str, AfterValidator(_valid_server_url)]
Port = Annotated[int, Field(ge=1, le=65_535)]
TypedRoute = Annotated[Route, BeforeValidator(_strict(Route))]
TypedPrice = Annotated[Price, BeforeValidator(_strict(Price))]


def _known_api(api: str) -> str:
    try:
        return adapter_of(api).api
    except ValueError as error:
        raise PydanticCustomError("api", "{reason}", {"reason": str(error)}) from None


Api = Annotated[str, AfterValidator(_known_api)]
"""The API of a model server: a row of the registry of adapters, or an entry point of another package."""


class ModelSettings(InputModel):
    """A model server of the role `generate`, and the price of its tokens."""

    url: ServerUrl | None = None
    name: str | None = None
    api: Api = "openai-chat"
    profile: Annotated[str, Field(max_length=MAX_PROFILE_NAME)] | None = None
    """The hosted service whose rules apply, if the host of `url` does not say it. `none` turns them off."""
    way: Way | None = None
    """How the model decides, if it is not the best way that the server can take."""
    effort: Effort | None = None
    """How much the model thinks. Unset, the service decides."""
    engine: Engine | None = None
    """The structured-output engine, if it is not the default of `api`. Example: `xgrammar` for a vLLM
    server that was started with that backend only."""
    api_key: Annotated[SecretStr | None, AfterValidator(_header_key_or_none)] = None
    timeout_s: float = Field(default=120, gt=0, le=MAX_SETTING_S)
    """Maximum seconds to the first token: the wait in the server's queue, and the prefill of the prompt."""
    gap_s: float = Field(default=30, gt=0, le=MAX_SETTING_S)
    """Maximum seconds from one token to the next."""
    start_within_s: float = Field(default=900, ge=0, le=MAX_SETTING_S)
    """Maximum seconds that a starting process waits for the server: large weights take minutes to load."""
    temperature: float = Field(default=0.2, ge=0, le=2)
    max_tokens: int = Field(default=1024, ge=1, le=MAX_COMPLETION_TOKENS)
    """Completion tokens of a model call. A cut-off completion is retried with up to four times as many."""
    price: TypedPrice = Price()
    session_header: Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{1,64}$")] | None = None
    """A header that carries the workflow id, for routers that keep a session on one replica."""
    allow_unconstrained: bool = False
    """Accept a server that ignores JSON Schemas. Invalid completions are then rejected and retried."""


def _require_url(server: ModelSettings) -> ModelSettings:
    if server.url is None:
        raise PydanticCustomError("missing", "needs a url")
    return server


NamedServer = Annotated[ModelSettings, AfterValidator(_require_url)]
"""One more model server, which the legs of a route name."""


def _webhook_secret(secret: SecretStr) -> SecretStr:
    prefix, _, key = secret.get_secret_value().partition("_")
    try:
        if prefix == "whsec" and len(base64.b64decode(key, validate=True)) >= 16:
            return secret
    except ValueError:
        pass
    raise PydanticCustomError(
        "secret", "must be whsec_ and at least 16 bytes in base64 (openssl rand -base64 32)"
    )


def _different_people(keys: dict[str, str]) -> dict[str, str]:
    names = {folded_name(name) for name in keys}
    if len(names) < len(keys) or len(set(keys.values())) < len(keys):
        raise PydanticCustomError(
            "one_person", "has one person twice: each person needs one name and one key"
        )
    return keys


PersonName = Annotated[str, Field(min_length=1, max_length=MAX_BY)]


class AudienceSettings(InputModel):
    """The channels that notify an audience of a request. All of them are used, in this order.

    `secret` signs the webhook's requests. `keys` are the public keys of the people in the audience, by
    name. With keys, every decision of the audience must be signed.
    """

    webhook: Url | None = None
    secret: Annotated[SecretStr, AfterValidator(_webhook_secret)] | None = None
    command: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    log: bool = False
    keys: Annotated[dict[PersonName, PublicKey], AfterValidator(_different_people)] = Field(
        default_factory=dict
    )

    @model_validator(mode="after")
    def _require_a_channel(self) -> Self:
        if self.webhook is None and self.command is None and not self.log and not self.keys:
            raise PydanticCustomError("nobody", "needs a webhook, a command, keys, or log = true")
        return self


class CallbackSettings(InputModel):
    """The decision page: where it listens, and the secret that signs its links."""

    url: Url | None = None
    """Public base URL of the page. With it and a secret, notifications contain a link."""
    secret: Annotated[SecretStr, Field(min_length=16)] | None = None
    host: Host = "127.0.0.1"
    port: Port = 8090

    @model_validator(mode="after")
    def _require_a_secret(self) -> Self:
        if self.url is not None and self.secret is None:
            raise PydanticCustomError(
                "unsigned", "has a url and needs a secret, which signs the links"
            )
        return self


class GatewayToken(InputModel):
    """A principal of the gateway: its bearer token, its tenant, and the audiences for which it decides."""

    token: Annotated[SecretStr, Field(min_length=16, max_length=4_000)]
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
    if not re.fullmatch(r"https?://[^/?#\s*]+", _valid_url(origin)):
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


class RoutesSettings(InputModel):
    """The routes of the runs that this process starts.

    `generate` and `tools` are the routes of all model calls and all tools. More specific routes override
    them: `model` by the name of the agent's model, `tool` by tool name, `tool_class` by the tool's class.
    Without a route, a step uses the task queue of its role (`Settings.queue`).
    """

    generate: TypedRoute | None = None
    tools: TypedRoute | None = None
    tool: dict[Name, TypedRoute] = Field(default_factory=dict)
    tool_class: dict[Name, TypedRoute] = Field(default_factory=dict)
    model: dict[str, TypedRoute] = Field(default_factory=dict)


Names = Annotated[tuple[str, ...], BeforeValidator(split), AfterValidator(distinct)]


class ToolsSettings(InputModel):
    """How the tools of the runs that this process starts are called."""

    local: bool = True
    """Call short tools as local activities, if the process that has the run serves them."""


class SpecsSettings(InputModel):
    """What a `spec` may ask for, on the workers of the role `workflows`. Unset, there is no limit.

    An empty list allows nothing. A spec without a model uses the default model, which is always allowed.
    """

    enabled: bool = True
    tools: Names | None = None
    models: Names | None = None
    audiences: Names | None = None
    """Audiences that the tools of a spec may ask, also in escalations."""


class QueuesSettings(InputModel):
    """The task queue that each role of this process polls. Unset, it is the default of the role."""

    workflows: QueueName | None = None
    generate: QueueName | None = None
    tools: QueueName | None = None


class ConcurrencySettings(InputModel):
    """Concurrent tasks of each role, and the number of runs that stay in memory between tasks."""

    # Temporal's core rejects a single slot for workflow tasks while it caches workflows.
    workflows: int = Field(default=100, ge=2, le=MAX_CONCURRENCY)
    generate: int = Field(default=32, ge=1, le=MAX_CONCURRENCY)
    tools: int = Field(default=100, ge=1, le=MAX_CONCURRENCY)
    cached_workflows: int = Field(default=1000, ge=0, le=MAX_CONCURRENCY)


class HealthSettings(InputModel):
    """Where the health endpoint listens. Without a port, there is no endpoint."""

    host: Host = "127.0.0.1"
    port: Port | None = None


class WatchedVersion(InputModel):
    """One worker deployment version on one task queue."""

    task_queue: QueueName
    deployment_name: str = Field(min_length=1)
    build_id: str = Field(min_length=1)


class PodSettings(InputModel):
    """Whether the demand service sets pod deletion costs in Kubernetes, and which pods are workers."""

    enabled: bool = False
    namespace: str = Field(default="", pattern=r"^([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)?$")
    """Namespace of the worker pods. Empty means the namespace of the demand service."""
    prefix: str = ""
    """Prefix of the worker pods' names. The service ignores other host names."""


class TlsSettings(InputModel):
    """The PEM files of the demand service's certificate. Unset, its ports speak plain text."""

    cert: str = ""
    key: str = ""
    client_ca: str = ""
    """CA of client certificates: the gRPC port then admits only callers with a certificate of this CA."""

    @model_validator(mode="after")
    def _require_both(self) -> Self:
        if bool(self.cert) != bool(self.key) or (self.client_ca and not self.cert):
            raise PydanticCustomError("half", "needs cert and key, or neither")
        return self


class DemandSettings(InputModel):
    """The demand service: where it listens, and the task queues that it always reads.

    `slots` is the number of concurrent tasks of one worker, by task queue. `*` applies to all queues that
    are not listed.
    """

    host: Host = "127.0.0.1"
    port: Port = 8070
    grpc_port: Port = 8071
    token: Annotated[SecretStr | None, Field(min_length=16)] = None
    """The token that callers send. Prefer the variable OUTLAST_DEMAND__TOKEN to the file."""
    tls: TlsSettings = TlsSettings()
    # Servers update their counts every 5 s, so a shorter interval shows nothing new.
    poll_s: float = Field(default=5, ge=0.1, le=3_600)
    keep_s: float = Field(default=60, ge=0, le=MAX_SETTING_S)
    """Maximum age of a reading that is returned while Temporal does not answer."""
    queues: Annotated[tuple[QueueName, ...], BeforeValidator(split), AfterValidator(distinct)] = ()
    versions: tuple[WatchedVersion, ...] = ()
    only_watched: bool = False
    """Reject queries for other targets than those of `queues`, `versions` and the routes."""
    slots: dict[QueueName, Annotated[int, Field(ge=1, le=MAX_CONCURRENCY)]] = Field(
        default_factory=dict
    )
    pods: PodSettings = PodSettings()


class VersioningSettings(InputModel):
    """The worker deployment version of this process. Unset, its workers are not versioned.

    `TEMPORAL_DEPLOYMENT_NAME` and `TEMPORAL_WORKER_BUILD_ID` set it too. Temporal's worker controller for
    Kubernetes sets these variables.
    """

    deployment_name: str | None = Field(default=None, min_length=1)
    build_id: str | None = Field(default=None, min_length=1)

    @model_validator(mode="after")
    def _both_or_neither(self) -> Self:
        if (self.deployment_name is None) != (self.build_id is None):
            raise PydanticCustomError(
                "half",
                "give deployment_name and build_id, or neither ({variables} set them too)",
                {"variables": " and ".join(VERSION_VARIABLES.values())},
            )
        return self

"""The tables of the settings: what a process is told of one matter each."""

import base64
import re
from collections.abc import Callable
from typing import Annotated, Literal, Self

from outlast_activities.constraints.constraints import Engine
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticCustomError

from outlast.contracts.agents import Price, Route
from outlast.contracts.base import InputModel
from outlast.contracts.human import MAX_BY
from outlast.contracts.names import Name
from outlast.texts import folded_name

VERSION_VARIABLES = {
    "deployment_name": "TEMPORAL_DEPLOYMENT_NAME",
    "build_id": "TEMPORAL_WORKER_BUILD_ID",
}


def split(value: object) -> object:
    """Let a variable say `a,b` where TOML says `["a", "b"]`."""
    if isinstance(value, str):
        return [word.strip() for word in value.split(",") if word.strip()]
    return value


def distinct(words: tuple[str, ...]) -> tuple[str, ...]:
    """Refuse a list that says something twice."""
    if len(set(words)) < len(words):
        raise PydanticCustomError("repeated", "one of them is named twice")
    return words


def _plain_address(url: str) -> str:
    # A user and password would be in error messages, and so in histories.
    if not re.match(r"https?://[^/@]+(/|$)", url):
        raise PydanticCustomError("url", "must be http://… or https://…, without user and password")
    return url


def lower(value: object) -> object:
    """Let words be written in any case."""
    return value.lower() if isinstance(value, str) else value


def _at_the_door(model: type[BaseModel]) -> Callable[[object], BaseModel]:
    """Refuse unknown keys in a model that ignores them where workers send it to each other."""

    def validate(value: object) -> BaseModel:
        try:
            return model.model_validate(value, extra="forbid")
        except ValidationError as error:
            # A ValidationError that is raised as it is loses where in the value it was.
            raise PydanticCustomError("nested", "is wrong", {"errors": error.errors()}) from None

    return validate


Module = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_.]*$")]
QueueName = Annotated[str, Field(min_length=1)]
Url = Annotated[str, AfterValidator(_plain_address)]
Port = Annotated[int, Field(ge=1, le=65_535)]
TypedRoute = Annotated[Route, BeforeValidator(_at_the_door(Route))]
TypedPrice = Annotated[Price, BeforeValidator(_at_the_door(Price))]


class ModelSettings(InputModel):
    """A model server that the role `generate` asks, and what its tokens cost."""

    url: Url | None = None
    name: str | None = None
    api: Literal["vllm", "openai"] = "openai"
    engine: Engine | None = None
    """What constrains its answers, where it is not what the server is taken to have: `xgrammar` for a vLLM
    that was started with that backend alone."""
    api_key: SecretStr | None = None
    timeout_s: float = Field(default=120, gt=0)
    """Most seconds to the first token: the wait in the server's queue, and reading the prompt."""
    gap_s: float = Field(default=30, gt=0)
    """Most seconds from one token to the next."""
    start_within_s: float = Field(default=900, ge=0)
    """How long a process waits for it at its start: large weights take minutes to load."""
    temperature: float = Field(default=0.2, ge=0, le=2)
    max_tokens: int = Field(default=1024, ge=1)
    """Completion tokens of an answer; one that is cut off may have up to four times as many."""
    price: TypedPrice = Price()
    session_header: Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{1,64}$")] | None = None
    """Name of a header that holds the run's id, for routers that keep a session on one replica."""
    allow_unconstrained: bool = False
    """Whether a server that ignores JSON Schemas will do: its answers are checked and asked again."""


def _with_url(server: ModelSettings) -> ModelSettings:
    if server.url is None:
        raise PydanticCustomError("missing", "needs a url")
    return server


NamedServer = Annotated[ModelSettings, AfterValidator(_with_url)]
"""One more model server, which legs of a route name."""


def _webhook_secret(secret: SecretStr) -> SecretStr:
    prefix, _, key = secret.get_secret_value().partition("_")
    try:
        if prefix == "whsec" and len(base64.b64decode(key, validate=True)) >= 16:
            return secret
    except ValueError:
        pass
    raise PydanticCustomError(
        "secret", "must be whsec_ and 16 bytes or more in base64 (openssl rand -base64 32)"
    )


def _public_key(encoded: str) -> str:
    # 32 bytes in base64url, whose last letter holds four bits.
    if re.fullmatch(r"[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]", encoded):
        return encoded
    raise PydanticCustomError(
        "key", "must be an Ed25519 public key: 43 letters, as `outlast keygen` prints it"
    )


def _of_different_people(keys: dict[str, str]) -> dict[str, str]:
    names = {folded_name(name) for name in keys}
    if len(names) < len(keys) or len(set(keys.values())) < len(keys):
        raise PydanticCustomError("one_person", "has one person twice: each needs a name and a key")
    return keys


PublicKey = Annotated[str, AfterValidator(_public_key)]
PersonName = Annotated[str, Field(min_length=1, max_length=MAX_BY)]


class AudienceSettings(InputModel):
    """How an audience is told that a request waits for it: on each of these, in this order.

    `secret` signs what the webhook is sent. `keys` are the public keys of its people, by name: with them
    its decisions have to be signed.
    """

    webhook: Url | None = None
    secret: Annotated[SecretStr, AfterValidator(_webhook_secret)] | None = None
    command: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    log: bool = False
    keys: Annotated[dict[PersonName, PublicKey], AfterValidator(_of_different_people)] = Field(
        default_factory=dict
    )

    @model_validator(mode="after")
    def _reaches_somebody(self) -> Self:
        if self.webhook is None and self.command is None and not self.log and not self.keys:
            raise PydanticCustomError("nobody", "needs a webhook, a command, keys, or log = true")
        return self


class CallbackSettings(InputModel):
    """The page on which people settle requests: where it listens, and what signs its links."""

    url: Url | None = None
    """Base URL under which people reach it: with it and a secret, notices hold a link."""
    secret: Annotated[SecretStr, Field(min_length=16)] | None = None
    host: str = Field(default="127.0.0.1", min_length=1)
    port: Port = 8090

    @model_validator(mode="after")
    def _links_are_signed(self) -> Self:
        if self.url is not None and self.secret is None:
            raise PydanticCustomError("unsigned", "has a url and no secret, which signs its links")
        return self


class RoutesSettings(InputModel):
    """Where the steps of the runs that this process starts are served.

    `model` is by the name of the model that an agent asks for, `tool` by tool name, `tool_class` by what a
    tool says that it needs; a route of these holds before that of all model calls or tools.

    Without a route a step goes to the task queue of its role, as `Settings.queue` tells it.
    """

    generate: TypedRoute | None = None
    tools: TypedRoute | None = None
    tool: dict[Name, TypedRoute] = Field(default_factory=dict)
    tool_class: dict[Name, TypedRoute] = Field(default_factory=dict)
    model: dict[str, TypedRoute] = Field(default_factory=dict)


class QueuesSettings(InputModel):
    """The task queue that each role of this process polls, where it is not the usual one."""

    workflows: QueueName | None = None
    generate: QueueName | None = None
    tools: QueueName | None = None


class ConcurrencySettings(InputModel):
    """How many tasks of each role run at once, and how many runs stay in memory between tasks."""

    # Temporal's core refuses one workflow task at a time while it caches workflows.
    workflows: int = Field(default=100, ge=2)
    generate: int = Field(default=32, ge=1)
    tools: int = Field(default=100, ge=1)
    cached_workflows: int = Field(default=1000, ge=0)


class HealthSettings(InputModel):
    """Where the health endpoint listens; without a port there is none."""

    host: str = Field(default="127.0.0.1", min_length=1)
    port: Port | None = None


class WatchedVersion(InputModel):
    """A worker deployment version, as far as it serves one task queue."""

    task_queue: QueueName
    deployment_name: str = Field(min_length=1)
    build_id: str = Field(min_length=1)


class PodSettings(InputModel):
    """Whether the demand service tells Kubernetes which pods are busy, and which pods are workers."""

    enabled: bool = False
    namespace: str = Field(default="", pattern=r"^([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)?$")
    """Where they are; empty, where the service is."""
    prefix: str = ""
    """How their names begin; what else runs workers, or says that it is called so, is let alone."""


class DemandSettings(InputModel):
    """The demand service: where it listens, and what it polls for although nobody has asked yet.

    `slots` says how many tasks a worker of a queue takes at once; `*` is for queues that are not named.
    """

    host: str = Field(default="127.0.0.1", min_length=1)
    port: Port = 8070
    grpc_port: Port = 8071
    # Servers renew their counts every 5 s: to ask more often tells nothing new.
    poll_s: float = Field(default=5, ge=0.1, le=3_600)
    keep_s: float = Field(default=60, ge=0)
    """How old a reading may be that is given out while Temporal does not answer."""
    queues: Annotated[tuple[QueueName, ...], BeforeValidator(split), AfterValidator(distinct)] = ()
    versions: tuple[WatchedVersion, ...] = ()
    slots: dict[QueueName, Annotated[int, Field(ge=1)]] = Field(default_factory=dict)
    pods: PodSettings = PodSettings()


class VersioningSettings(InputModel):
    """The worker deployment version of this process; unset, its workers are not versioned.

    `TEMPORAL_DEPLOYMENT_NAME` and `TEMPORAL_WORKER_BUILD_ID` are read too: the Kubernetes worker
    controller sets them.
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

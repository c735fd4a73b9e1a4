"""Settings of model servers."""

from typing import Annotated
from urllib.parse import urlsplit

from outlast_activities.constraints.engines import Engine
from outlast_activities.providers.redaction import clean_api_key
from outlast_activities.providers.registry import adapter_of
from pydantic import AfterValidator, Field, SecretStr
from pydantic_core import PydanticCustomError

from outlast.contracts.agents import Effort, Price, Way
from outlast.contracts.base import InputModel
from outlast.model_server import ServerOptions
from outlast_workers.settings_sections.setting_types import MAX_SETTING_S, TypedPrice, valid_url

MAX_COMPLETION_TOKENS = 10_000_000
"""The most tokens of a completion. No model writes as many."""

MAX_PROFILE_NAME = 64
"""Characters of the name of a profile."""


def _valid_server_url(url: str) -> str:
    parts = urlsplit(valid_url(url))
    if parts.query or parts.fragment:
        raise PydanticCustomError("url", "must have no query: a key belongs into api_key")
    return url


def _header_key_or_none(key: SecretStr | None) -> SecretStr | None:
    try:
        cleaned = clean_api_key(key.get_secret_value() if key else None)
    except ValueError as error:
        raise PydanticCustomError("key", "{reason}", {"reason": str(error)}) from None
    return SecretStr(cleaned) if cleaned else None


ServerUrl = Annotated[str, AfterValidator(_valid_server_url)]


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
    images: bool | None = None
    """Whether the model takes images. Unset, what the server or its profile says."""
    allow_unconstrained: bool = False
    """Accept a server that ignores JSON Schemas. Invalid completions are then rejected and retried."""


def server_options(settings: ModelSettings) -> ServerOptions:
    """Return the settings of a model server as its adapter gets them."""
    return ServerOptions(
        url=settings.url or "",
        api=settings.api,
        api_key=settings.api_key.get_secret_value() if settings.api_key else None,
        model=settings.name,
        engine=settings.engine,
        timeout_s=settings.timeout_s,
        gap_s=settings.gap_s,
        temperature=settings.temperature,
        session_header=settings.session_header,
        profile=settings.profile,
    )


def _require_url(server: ModelSettings) -> ModelSettings:
    if server.url is None:
        raise PydanticCustomError("missing", "needs a url")
    return server


NamedServer = Annotated[ModelSettings, AfterValidator(_require_url)]
"""One more model server, which the legs of a route name."""

"""The settings of a process: one TOML file and `OUTLAST_*` variables, read once at its start."""

import os
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from outlast_activities.notify import ANY_AUDIENCE
from outlast_activities.policies.routes import Routes
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from outlast.contracts.agents import Leg, Price, Route
from outlast.contracts.base import TypedNumbers
from outlast.contracts.names import AGENTS_QUEUE, GENERATE_QUEUE, TOOLS_QUEUE, Name
from outlast.errors import NotReady
from outlast_workers.settings_errors import (
    CONFIG_VARIABLE,
    PREFIX,
    invalid_json,
    invalid_option,
    invalid_settings,
    reject_unknown_variables,
)
from outlast_workers.settings_sections.demand import DemandSettings
from outlast_workers.settings_sections.gateway import EventsSettings, GatewaySettings
from outlast_workers.settings_sections.http import HttpSettings
from outlast_workers.settings_sections.media import MediaSettings
from outlast_workers.settings_sections.model_servers import ModelSettings, NamedServer
from outlast_workers.settings_sections.payloads import PayloadsSettings
from outlast_workers.settings_sections.people import AudienceSettings, CallbackSettings
from outlast_workers.settings_sections.setting_types import (
    MAX_SETTING_S,
    Host,
    Module,
    Url,
    distinct,
    lower,
    split,
    takes_words,
)
from outlast_workers.settings_sections.workers import (
    VERSION_VARIABLES,
    ConcurrencySettings,
    HealthSettings,
    MetricsSettings,
    QueuesSettings,
    RoutesSettings,
    SpecsSettings,
    ToolsSettings,
    VersioningSettings,
)

DEFAULT_FILE = Path("outlast.toml")
"""The file that is read, if it exists, when no other file is named."""

Role = Literal["workflows", "generate", "tools"]

OWN_QUEUES: dict[Role, str] = {
    "workflows": AGENTS_QUEUE,
    "generate": GENERATE_QUEUE,
    "tools": TOOLS_QUEUE,
}
"""The task queue of each role when separate processes serve the roles."""


class _Variables(EnvSettingsSource):
    """The variables of the process. A list of words is JSON, or `a,b`, which its field splits."""

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:
        """Return the value of a variable that is not one word: pydantic-settings expects JSON."""
        is_words = isinstance(value, str) and not value.lstrip().startswith("[")
        if is_words and isinstance(field, FieldInfo) and takes_words(field):
            return value
        return super().decode_complex_value(field_name, field, value)


class Settings(BaseSettings, TypedNumbers):  # pyright: ignore[reportIncompatibleVariableOverride] it has no config
    """All settings of a process. A variable overrides the same key of the file.

    `OUTLAST_MODEL__URL` is the key `url` of the table `model`. A variable holds a list of words separated
    by commas or as JSON, and a list of tables as JSON.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        env_ignore_empty=True,
        extra="forbid",
        frozen=True,
    )

    agents: Annotated[tuple[Module, ...], BeforeValidator(split), AfterValidator(distinct)] = ()
    """Modules that define the agents and tools of this process."""
    roles: Annotated[
        tuple[Role, ...],
        BeforeValidator(split),
        AfterValidator(distinct),
        Field(min_length=1),
    ] = ("workflows", "generate", "tools")
    model: ModelSettings = ModelSettings()
    """The model server of legs that name no server."""
    servers: dict[Name, NamedServer] = Field(default_factory=dict)
    """More model servers, by the names that legs use."""
    routes: RoutesSettings = RoutesSettings()
    audiences: dict[str, AudienceSettings] = Field(default_factory=dict)
    """How each audience is notified of human requests. `*` applies to all audiences that are not listed."""
    callback: CallbackSettings = CallbackSettings()
    gateway: GatewaySettings = GatewaySettings()
    http: HttpSettings = HttpSettings()
    """Where the HTTP calls of pipelines may go."""
    media: MediaSettings = MediaSettings()
    payloads: PayloadsSettings = PayloadsSettings()
    events: EventsSettings = EventsSettings()
    ui_url: Url | None = None
    """Base URL of the Temporal Web UI, for links in notifications."""
    specs: SpecsSettings = SpecsSettings()
    """What requests with a `spec` may ask for."""
    tools: ToolsSettings = ToolsSettings()
    queues: QueuesSettings = QueuesSettings()
    concurrency: ConcurrencySettings = ConcurrencySettings()
    drain_s: float = Field(default=25, ge=0, le=MAX_SETTING_S)
    """Seconds that activities in flight may continue after SIGTERM: below the platform's grace period."""
    idle_exit_s: float | None = Field(default=None, gt=0, le=MAX_SETTING_S)
    """Seconds without a task after which the process exits. Unset, it does not exit by itself."""
    max_life_s: float | None = Field(default=None, ge=60, le=MAX_SETTING_S)
    """Seconds after which the process stops polling, drains and exits. Unset, it does not."""
    health: HealthSettings = HealthSettings()
    metrics: MetricsSettings = MetricsSettings()
    """With a port, Prometheus reads the SDK's metrics there. Otherwise they go to `otlp_endpoint`."""
    demand: DemandSettings = DemandSettings()
    log_format: Annotated[Literal["auto", "console", "json"], BeforeValidator(lower)] = "auto"
    log_level: Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(lower)] = (
        "info"
    )
    otlp_endpoint: Url | None = None
    """Base URL of an OTLP/HTTP collector, such as `http://localhost:4318`."""
    trace_interval_s: float = Field(default=2, ge=0.1, le=60)
    """Seconds between two exports of spans. A span is visible after them; a killed worker loses them."""
    trace_hosts: (
        Annotated[tuple[Host, ...], BeforeValidator(split), AfterValidator(distinct)] | None
    ) = None
    """Hosts that get `traceparent` with calls of runs, with their subdomains. Unset, all hosts get it."""
    trace_content: bool = False
    """Whether spans hold the text of prompts, answers, and arguments and results of tools."""
    versioning: VersioningSettings = VersioningSettings()
    transcript_cache_bytes: int = Field(default=64_000_000, ge=0, le=2**48)

    def queue(self, role: Role) -> str:
        """Return the task queue that serves a role.

        A process with all roles polls one queue for all of them. This is fastest, because Temporal returns
        the next task when the process completes the last one. Otherwise each role has its own queue.
        """
        configured: str | None = getattr(self.queues, role)
        if configured is not None:
            return configured
        shared = set(self.roles) == set(OWN_QUEUES)
        return (self.queues.workflows or AGENTS_QUEUE) if shared else OWN_QUEUES[role]

    def route(self, role: Literal["generate", "tools"]) -> Route:
        """Return the route of a role. A leg without a price gets the price of its model server."""
        configured: Route | None = getattr(self.routes, role)
        route = configured or Route(legs=(Leg(task_queue=self.queue(role)),))
        return route if role == "tools" else self._priced(route)

    def step_routes(self) -> Routes:
        """Return the routes of all model calls and tools of the runs that this process starts."""
        return Routes(
            generate=self.route("generate"),
            tools=self.route("tools"),
            by_model={name: self._priced(route) for name, route in self.routes.model.items()},
            by_tool=self.routes.tool,
            by_class=self.routes.tool_class,
        )

    @model_validator(mode="after")
    def _reject_keys_of_the_wildcard(self) -> Self:
        """Reject keys for `*`: a misspelt audience name would change who can decide."""
        if ANY_AUDIENCE in self.audiences and self.audiences[ANY_AUDIENCE].keys:
            raise PydanticCustomError(
                "wildcard_keys", "audiences.*: keys need an audience with a name"
            )
        return self

    @model_validator(mode="after")
    def _reject_unknown_servers(self) -> Self:
        """Reject a leg to this process's own queue that names a model server missing from `servers`."""
        routes = {f"model.{name}": route for name, route in self.routes.model.items()}
        routes |= {"generate": self.routes.generate} if self.routes.generate else {}
        legs = [(key, leg) for key, route in routes.items() for leg in route.legs]
        for key, leg in legs if "generate" in self.roles else ():
            is_own = leg.task_queue == self.queue("generate")
            if is_own and leg.server is not None and leg.server not in self.servers:
                raise PydanticCustomError(
                    "unknown_server",
                    "routes.{key}: a leg names the model server {server}, which is not in [servers]",
                    {"key": key, "server": repr(leg.server)},
                )
        return self

    def _priced(self, route: Route) -> Route:
        return Route(legs=tuple(map(self._priced_leg, route.legs)))

    def _priced_leg(self, leg: Leg) -> Leg:
        server = self.model if leg.server is None else self.servers.get(leg.server)
        if leg.price is not None or server is None or server.price == Price():
            return leg
        return leg.model_copy(update={"price": server.price})

    def with_options(self, options: dict[str, Any]) -> Self:
        """Return the settings with the options of a command line applied; raises `NotReady`."""
        fields = type(self).model_fields
        validated: dict[str, Any] = {}
        for name, value in options.items():
            # Not through the constructor: there, variables would override the options.
            adapter: TypeAdapter[Any] = TypeAdapter(fields[name].rebuild_annotation())
            try:
                validated[name] = adapter.validate_python(value)
            except ValidationError as error:
                raise NotReady(invalid_option(error, type(self), name=name)) from None
        return self.model_copy(update=validated)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read variables first, then the file, whose content is passed to `__init__`."""
        del env_settings, dotenv_settings, file_secret_settings
        variables = {key: os.environ.get(name, "") for key, name in VERSION_VARIABLES.items()}
        version = {key: value for key, value in variables.items() if value}
        injected = {"versioning": version} if version else {}
        return _Variables(settings_cls), InitSettingsSource(settings_cls, injected), init_settings


def load_settings(config: Path | None = None) -> Settings:
    """Return the settings of this process. Its `main` calls this once.

    Reads the file `config`, or else `OUTLAST_CONFIG`, or else `outlast.toml` of the current folder if it
    exists. Raises `NotReady` with one line that names the key, and the file or variable that holds it.
    """
    reject_unknown_variables(Settings)
    file = config or _default_file()
    table = _read_toml(file) if file else {}
    try:
        return Settings(**table)
    except ValidationError as error:
        raise NotReady(invalid_settings(error, Settings, file=file)) from None
    except SettingsError as error:
        raise NotReady(invalid_json(error)) from None


def _default_file() -> Path | None:
    if configured := os.environ.get(CONFIG_VARIABLE):
        return Path(configured)
    return DEFAULT_FILE if DEFAULT_FILE.is_file() else None


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise NotReady(f"{file}: cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise NotReady(f"{file}: is not TOML: {error}") from None

"""What a process is told at its start: one TOML file and `OUTLAST_*` variables, read once."""

import difflib
import os
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from outlast_activities.notify import ANYBODY
from outlast_activities.policies.routes import Routes
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticCustomError
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from outlast.contracts.agents import Leg, Price, Route
from outlast.contracts.names import AGENTS_QUEUE, GENERATE_QUEUE, TOOLS_QUEUE, Name
from outlast.errors import NotReady
from outlast_workers.settings_sections import (
    VERSION_VARIABLES,
    AudienceSettings,
    CallbackSettings,
    ConcurrencySettings,
    DemandSettings,
    HealthSettings,
    ModelSettings,
    Module,
    NamedServer,
    QueuesSettings,
    RoutesSettings,
    Url,
    VersioningSettings,
    distinct,
    lower,
    split,
)

PREFIX = "OUTLAST_"
CONFIG_VARIABLE = "OUTLAST_CONFIG"

DEFAULT_FILE = Path("outlast.toml")
"""Read where no file is named, if it exists."""

MAX_SHOWN_CHARS = 60
"""How much of a wrong value an error repeats: enough to find it, and still one line."""

Role = Literal["workflows", "generate", "tools"]

OWN_QUEUES: dict[Role, str] = {
    "workflows": AGENTS_QUEUE,
    "generate": GENERATE_QUEUE,
    "tools": TOOLS_QUEUE,
}
"""The task queues of roles that are served by processes of their own."""


class Settings(BaseSettings):
    """Everything a process is told at its start. Variables win over the file, key by key.

    `OUTLAST_MODEL__URL` is the key `url` of the table `model`. Lists of words are separated by
    commas, lists of tables are JSON.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        env_ignore_empty=True,
        extra="forbid",
        frozen=True,
    )

    agents: Annotated[
        tuple[Module, ...], NoDecode, BeforeValidator(split), AfterValidator(distinct)
    ] = ()
    """Modules to import for the agents and tools that they define."""
    roles: Annotated[
        tuple[Role, ...],
        NoDecode,
        BeforeValidator(split),
        AfterValidator(distinct),
        Field(min_length=1),
    ] = ("workflows", "generate", "tools")
    model: ModelSettings = ModelSettings()
    """The model server of legs that name none."""
    servers: dict[Name, NamedServer] = Field(default_factory=dict)
    """Further model servers, by the names that legs have for them."""
    routes: RoutesSettings = RoutesSettings()
    audiences: dict[str, AudienceSettings] = Field(default_factory=dict)
    """How people are told of requests, by audience; `*` is for those that are not named."""
    callback: CallbackSettings = CallbackSettings()
    ui_url: Url | None = None
    """Base URL of the Temporal Web UI, for links in what people are sent."""
    queues: QueuesSettings = QueuesSettings()
    concurrency: ConcurrencySettings = ConcurrencySettings()
    drain_s: float = Field(default=25, ge=0)
    """How long activities in flight may go on after SIGTERM: less than the platform's own grace."""
    idle_exit_s: float | None = Field(default=None, gt=0)
    """After how many seconds without a task the process ends; unset, it never does by itself."""
    health: HealthSettings = HealthSettings()
    demand: DemandSettings = DemandSettings()
    log_format: Annotated[Literal["auto", "console", "json"], BeforeValidator(lower)] = "auto"
    log_level: Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(lower)] = (
        "info"
    )
    otlp_endpoint: Url | None = None
    """Base URL of an OTLP/HTTP collector, such as `http://localhost:4318`."""
    versioning: VersioningSettings = VersioningSettings()
    transcript_cache_bytes: int = Field(default=64_000_000, ge=0)

    def queue(self, role: Role) -> str:
        """Return the task queue that serves a role.

        A process with all roles polls one queue for all of them, which is fastest: Temporal hands it the
        next step with the answer to the last. Otherwise each role has a queue of its own.
        """
        named: str | None = getattr(self.queues, role)
        if named is not None:
            return named
        shared = set(self.roles) == set(OWN_QUEUES)
        return (self.queues.workflows or AGENTS_QUEUE) if shared else OWN_QUEUES[role]

    def route(self, role: Literal["generate", "tools"]) -> Route:
        """Return the route of a role's steps; a leg that names no price has that of its model server."""
        named: Route | None = getattr(self.routes, role)
        route = named or Route(legs=(Leg(task_queue=self.queue(role)),))
        return route if role == "tools" else self._priced(route)

    def step_routes(self) -> Routes:
        """Return the routes of all steps of the runs that this process starts."""
        return Routes(
            generate=self.route("generate"),
            tools=self.route("tools"),
            by_model={name: self._priced(route) for name, route in self.routes.model.items()},
            by_tool=self.routes.tool,
            by_class=self.routes.tool_class,
        )

    @model_validator(mode="after")
    def _keys_are_of_an_audience(self) -> Self:
        """Refuse keys for whoever is not named: who decides would depend on how a name is spelt."""
        if ANYBODY in self.audiences and self.audiences[ANYBODY].keys:
            raise PydanticCustomError(
                "nobodys_keys", "audiences.*: keys belong to an audience that is named"
            )
        return self

    @model_validator(mode="after")
    def _legs_name_servers_of_ours(self) -> Self:
        """Refuse a leg to this process's own queue that names a model server which it does not have."""
        named = {f"model.{name}": route for name, route in self.routes.model.items()}
        named |= {"generate": self.routes.generate} if self.routes.generate else {}
        legs = [(key, leg) for key, route in named.items() for leg in route.legs]
        for key, leg in legs if "generate" in self.roles else ():
            ours = leg.task_queue == self.queue("generate")
            if ours and leg.server is not None and leg.server not in self.servers:
                raise PydanticCustomError(
                    "unknown_server",
                    "routes.{key}: a leg names the model server {server}, which [servers] lacks",
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
        """Return the settings with what a command line said over them; raises `NotReady`."""
        fields = type(self).model_fields
        checked: dict[str, Any] = {}
        for name, value in options.items():
            # Not through the constructor, which would let the variables win.
            adapter: TypeAdapter[Any] = TypeAdapter(fields[name].rebuild_annotation())
            try:
                checked[name] = adapter.validate_python(value)
            except ValidationError as error:
                at, details = next(_flat(error.errors(include_url=False), (name,)))
                raise NotReady(f"{_key(at)}: {_reason(at, details)}") from None
        return self.model_copy(update=checked)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read variables first, then the file, which arrives as the arguments of `__init__`."""
        del dotenv_settings, file_secret_settings
        found = {key: os.environ.get(name, "") for key, name in VERSION_VARIABLES.items()}
        version = {key: value for key, value in found.items() if value}
        injected = {"versioning": version} if version else {}
        return env_settings, InitSettingsSource(settings_cls, injected), init_settings


def load_settings(config: Path | None = None) -> Settings:
    """Return the settings of this process; called once, by its `main`.

    `config` is the file that a person named. Without it `OUTLAST_CONFIG` is used, then
    `outlast.toml` of the working directory where there is one. Raises `NotReady` with one line that
    names the key, and the file or the variable that it is in.
    """
    _refuse_unknown_variables()
    file = config or _usual_file()
    table = _read(file) if file else {}
    try:
        return Settings(**table)
    except ValidationError as error:
        raise NotReady(_problem(error, file)) from None
    except SettingsError as error:
        raise NotReady(_parse_problem(error)) from None


def _usual_file() -> Path | None:
    if named := os.environ.get(CONFIG_VARIABLE):
        return Path(named)
    return DEFAULT_FILE if DEFAULT_FILE.is_file() else None


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise NotReady(f"{file}: cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise NotReady(f"{file}: is not TOML: {error}") from None


# Kubernetes sets variables of these names for a Service that is called "outlast" or "outlast-…".
_SERVICE_LINK = re.compile(r"_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_\w+)?)$")

_REASONS = {
    "model_type": "must be a table",
    "dict_type": "must be a table",
    "tuple_type": "must be a list",
}

_SECRETS = {"api_key", "secret"}


def _refuse_unknown_variables() -> None:
    """Raise `NotReady` for a variable of ours that is no setting: it would silently do nothing."""
    for variable, value in os.environ.items():
        name = variable.upper()
        key = name.removeprefix(PREFIX).partition("__")[0].lower()
        linked = _SERVICE_LINK.search(name) or (name.endswith("_PORT") and "://" in value)
        if not name.startswith(PREFIX) or name == CONFIG_VARIABLE or linked:
            continue
        if key not in Settings.model_fields:
            raise NotReady(f"{variable}: unknown setting{_nearest_variable(name)}")


def _problem(error: ValidationError, file: Path | None) -> str:
    """Say in one line where the first thing wrong is, and what; unknown keys come first."""
    every = list(_flat(error.errors(include_url=False), ()))
    # A list with a wrong element is reported a second time, as too short.
    flat = [found for found in every if found[1]["type"] != "too_short"] or every
    at, details = min(flat, key=lambda found: found[1]["type"] != "extra_forbidden")
    more = f" (and {len(flat) - 1} more)" if len(flat) > 1 else ""
    where = _origin(at, file).removesuffix(": ")
    return f"{where}: {_reason(at, details)}{more}"


def _flat(
    errors: list[Any], prefix: tuple[int | str, ...]
) -> Iterator[tuple[tuple[int | str, ...], dict[str, Any]]]:
    for details in errors:
        at = (*prefix, *details["loc"])
        if details["type"] == "nested":
            yield from _flat(details["ctx"]["errors"], at)
        else:
            yield at, details


def _origin(at: tuple[int | str, ...], file: Path | None) -> str:
    """Name the variable or the file that holds the key, and the key within it."""
    variables = {name.upper(): name for name in os.environ}
    for depth in range(len(at), 0, -1):
        name = PREFIX + "__".join(str(part) for part in at[:depth]).upper()
        if name in variables:
            return ": ".join(filter(None, [variables[name], _key(at[depth:])]))
    return f"{file or 'settings'}: {_key(at)}"


def _key(at: tuple[int | str, ...]) -> str:
    steps = [f"[{part}]" if isinstance(part, int) else f".{part}" for part in at]
    return "".join(steps).removeprefix(".")


def _reason(at: tuple[int | str, ...], details: dict[str, Any]) -> str:
    if details["type"] == "extra_forbidden":
        return f"unknown key{_nearest_key(str(at[-1]))}"
    if details["type"] in _REASONS:
        return _REASONS[details["type"]]
    message, value = str(details["msg"]), details["input"]
    shown = isinstance(value, str | int | float) and not _SECRETS & set(at)
    ending = f", not {repr(value)[:MAX_SHOWN_CHARS]}" if shown else ""
    return message[:1].lower() + message[1:] + ending


def _tables() -> dict[str, type[BaseModel]]:
    defaults = {name: field.default for name, field in Settings.model_fields.items()}
    return {name: type(value) for name, value in defaults.items() if isinstance(value, BaseModel)}


def _nearest_key(key: str) -> str:
    models: list[type[BaseModel]] = [
        Settings,
        Route,
        Leg,
        Price,
        AudienceSettings,
        *_tables().values(),
    ]
    return _nearest(key, {name for model in models for name in model.model_fields} - {key})


def _nearest_variable(variable: str) -> str:
    inner = {f"{name}__{key}" for name, table in _tables().items() for key in table.model_fields}
    names = {PREFIX + name.upper() for name in inner | set(Settings.model_fields)}
    return _nearest(variable, names)


def _nearest(word: str, known: set[str]) -> str:
    found = difflib.get_close_matches(word, sorted(known), n=1)
    return f"; did you mean {found[0]!r}?" if found else ""


def _parse_problem(error: SettingsError) -> str:
    """Name the variable that should have been JSON, out of pydantic-settings' sentence."""
    field = str(error).split('"')[1].upper()
    return f"{PREFIX}{field}: is not JSON: {error.__cause__}"

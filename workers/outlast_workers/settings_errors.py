"""Error messages of the settings: each is one line that says where the error is and how to fix it.

A message names the file or the variable, the key within it, and the nearest known name of a misspelt key.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_settings import SettingsError

from outlast import model_requests
from outlast.client import gateway
from outlast.contracts.agents import Leg, Price, Route
from outlast.errors import NotReady
from outlast.text.hints import nearest
from outlast_workers.settings_sections.people import AudienceSettings

PREFIX = "OUTLAST_"
CONFIG_VARIABLE = "OUTLAST_CONFIG"

NO_SETTINGS = (
    CONFIG_VARIABLE,
    model_requests.VARIABLE,
    gateway.URL_VARIABLE,
    gateway.TOKEN_VARIABLE,
)
"""Variables that are not settings of a worker."""

MAX_SHOWN_CHARS = 60
"""Characters of an invalid value that an error shows, so that the error stays one line."""

MAX_PLACES = 3
"""Tables that an error names, if each of them has a key. More would not be read."""

Location = tuple[int | str, ...]
"""The keys and list indexes that lead to a value, as pydantic reports them."""

# Kubernetes sets variables of these names for a Service that is called "outlast" or "outlast-…".
_SERVICE_LINK = re.compile(r"_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_\w+)?)$")

_REASONS = {
    "model_type": "must be a table",
    "dict_type": "must be a table",
    "tuple_type": "must be a list",
}

_SECRETS = frozenset({"api_key", "secret", "token"})


def reject_unknown_variables(settings: type[BaseModel]) -> None:
    """Raise `NotReady` for an `OUTLAST_*` variable that is not a setting and would have no effect."""
    for variable, value in os.environ.items():
        name = variable.upper()
        key = name.removeprefix(PREFIX).partition("__")[0].lower()
        linked = _SERVICE_LINK.search(name) or (name.endswith("_PORT") and "://" in value)
        if not name.startswith(PREFIX) or name in NO_SETTINGS or linked:
            continue
        if key not in settings.model_fields:
            raise NotReady(f"{variable}: unknown setting{_nearest_variable(name, settings)}")


def invalid_settings(
    error: ValidationError, settings: type[BaseModel], *, file: Path | None
) -> str:
    """Return one line about the first error and where it is. Unknown keys come first."""
    all_errors = list(_flattened(error.errors(include_url=False), ()))
    # pydantic reports a list with an invalid element a second time, as too short.
    errors = [entry for entry in all_errors if entry[1]["type"] != "too_short"] or all_errors
    location, details = min(errors, key=lambda entry: entry[1]["type"] != "extra_forbidden")
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    origin = _origin(location, file).removesuffix(": ")
    return f"{origin}: {_reason(location, details, settings)}{more}"


def invalid_option(error: ValidationError, settings: type[BaseModel], *, name: str) -> str:
    """Return one line about the value that the command line gave for the setting `name`."""
    location, details = next(_flattened(error.errors(include_url=False), (name,)))
    return f"{_dotted(location)}: {_reason(location, details, settings)}"


def invalid_json(error: SettingsError) -> str:
    """Return one line about a variable that must be JSON, taken from pydantic-settings' message."""
    field = str(error).split('"')[1].upper()
    return f"{PREFIX}{field}: is not JSON: {error.__cause__}"


def _flattened(errors: list[Any], prefix: Location) -> Iterator[tuple[Location, dict[str, Any]]]:
    for details in errors:
        location = (*prefix, *details["loc"])
        if details["type"] == "nested":
            yield from _flattened(details["ctx"]["errors"], location)
        else:
            yield location, details


def _origin(location: Location, file: Path | None) -> str:
    """Return the variable or the file that holds the key, and the key within it."""
    variables = {name.upper(): name for name in os.environ}
    for depth in range(len(location), 0, -1):
        name = PREFIX + "__".join(str(part) for part in location[:depth]).upper()
        if name in variables:
            return ": ".join(filter(None, [variables[name], _dotted(location[depth:])]))
    return f"{file or 'settings'}: {_dotted(location)}"


def _dotted(location: Location) -> str:
    steps = [f"[{part}]" if isinstance(part, int) else f".{part}" for part in location]
    return "".join(steps).removeprefix(".")


def _reason(location: Location, details: dict[str, Any], settings: type[BaseModel]) -> str:
    if details["type"] == "extra_forbidden":
        return f"unknown key{_known_key(location, settings)}"
    if details["type"] in _REASONS:
        return _REASONS[details["type"]]
    message, value = str(details["msg"]), details["input"]
    # A URL may hold a password or a key.
    is_secret = _SECRETS & set(location) or (details["type"] == "url" and set("@?#") & set(value))
    shown = isinstance(value, str | int | float) and not is_secret
    ending = f", not {repr(value)[:MAX_SHOWN_CHARS]}" if shown else ""
    return message[:1].lower() + message[1:] + ending


def _sections(settings: type[BaseModel]) -> dict[str, type[BaseModel]]:
    defaults = {name: field.default for name, field in settings.model_fields.items()}
    return {name: type(value) for name, value in defaults.items() if isinstance(value, BaseModel)}


def _known_key(location: Location, settings: type[BaseModel]) -> str:
    """Return which key an unknown one may be: the same one of another place, or one of its own table."""
    key = str(location[-1])
    if key in settings.model_fields:
        return f"; {key!r} is outside of all tables: in a file it stands above the first [table]"
    tables = _sections(settings).items()
    places = [f"{name}.{key}" for name, section in tables if key in section.model_fields]
    if places:
        return f"; did you mean {' or '.join(sorted(places)[:MAX_PLACES])}?"
    table = _model_at(location[:-1], settings)
    if table is not None and (nearest := _nearest(key, set(table.model_fields))):
        return nearest
    nested: list[type[BaseModel]] = [Route, Leg, Price, AudienceSettings]
    models = [settings, *nested, *_sections(settings).values()]
    return _nearest(key, {name for model in models for name in model.model_fields})


def _model_at(location: Location, settings: type[BaseModel]) -> type[BaseModel] | None:
    """Return the model of the table at a place, or None if it is of no model."""
    kind: Any = settings
    for part in location:
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            field = kind.model_fields.get(str(part))
            kind = None if field is None else field.annotation
        else:  # a table by names, or a list
            kind = next(iter(get_args(kind)[-1 if isinstance(part, str) else 0 :]), None)
        kind = _without_none(kind)
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _without_none(kind: Any) -> Any:
    while get_origin(kind) in (Annotated, Union, UnionType):
        kind = get_args(kind)[0]
    return kind


def _nearest_variable(variable: str, settings: type[BaseModel]) -> str:
    sections = _sections(settings).items()
    nested = {f"{name}__{key}" for name, section in sections for key in section.model_fields}
    names = {PREFIX + name.upper() for name in nested | set(settings.model_fields)}
    return _nearest(variable, names)


def _nearest(word: str, known: set[str]) -> str:
    near = nearest(word, sorted(known))
    return "" if near is None else f"; did you mean {near!r}?"

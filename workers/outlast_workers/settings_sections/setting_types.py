"""Types of settings, and the checks of their values: URLs, hosts, ports, lists."""

import re
from collections.abc import Callable
from itertools import chain
from typing import Annotated, get_args
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    AnyHttpUrl,
    BaseModel,
    BeforeValidator,
    Field,
    TypeAdapter,
    ValidationError,
)
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

from outlast.contracts.agents import Price, Route
from outlast.contracts.bounds import Printable
from outlast.contracts.human import MAX_BY

MAX_SETTING_S = 31_536_000
"""A year: the longest time of a setting. Infinity and larger numbers overflow in timers."""

MAX_CONCURRENCY = 10_000
"""The most concurrent tasks, or cached runs, of one process: each takes memory, and a thread or a slot."""

_HTTP_URL: TypeAdapter[AnyHttpUrl] = TypeAdapter(AnyHttpUrl)


def split(value: object) -> object:
    """Split `a,b`, as variables have it, into the list that TOML has."""
    if isinstance(value, str):
        return [word.strip() for word in value.split(",") if word.strip()]
    return value


def takes_words(field: FieldInfo) -> bool:
    """Return whether a setting is a list that a variable may hold as `a,b`."""
    alternatives = [getattr(part, "__metadata__", ()) for part in get_args(field.annotation)]
    return any(
        isinstance(entry, BeforeValidator) and entry.func is split
        for entry in chain(field.metadata, *alternatives)
    )


def distinct(words: tuple[str, ...]) -> tuple[str, ...]:
    """Reject a list that has a value twice."""
    if len(set(words)) < len(words):
        raise PydanticCustomError("repeated", "has a value twice")
    return words


def valid_url(url: str) -> str:
    """Accept a URL of http or https without user and password."""
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


Module = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_.]*$")]
QueueName = Annotated[str, Field(min_length=1)]
Url = Annotated[str, AfterValidator(valid_url)]
Host = Annotated[str, AfterValidator(_valid_host)]
Port = Annotated[int, Field(ge=1, le=65_535)]
TypedRoute = Annotated[Route, BeforeValidator(_strict(Route))]
TypedPrice = Annotated[Price, BeforeValidator(_strict(Price))]
PersonName = Annotated[str, Field(min_length=1, max_length=MAX_BY), Printable()]
Names = Annotated[tuple[str, ...], BeforeValidator(split), AfterValidator(distinct)]

"""Operations of an HTTP API, as a worker calls them."""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal

Place = Literal["path", "query", "header", "cookie"]

Style = Literal["simple", "form", "deepObject"]


@dataclass(frozen=True)
class Parameter:
    """A parameter of an operation. `argument` is its name for the model, and `name` that in a request.

    With `is_json`, its value is JSON text.
    """

    name: str
    argument: str
    place: Place
    style: Style
    explode: bool
    required: bool
    is_json: bool = False


@dataclass(frozen=True)
class Body:
    """The body of an operation. A form has the styles of its fields, as parameters by name."""

    argument: str
    media_type: str
    kind: Literal["json", "form", "text"]
    required: bool
    fields: tuple[Parameter, ...] = ()


@dataclass(frozen=True)
class Credential:
    """A secret of a request: `variable` is the environment variable of the worker that holds it."""

    place: Literal["header", "query", "cookie"]
    name: str
    scheme: Literal["", "Bearer", "Basic"]
    variable: str


@dataclass(frozen=True)
class Operation:
    """An operation of an API. `path` has the parameters of the path in braces."""

    method: str
    server: str
    path: str
    parameters: tuple[Parameter, ...] = ()
    body: Body | None = None
    credentials: tuple[Credential, ...] = ()
    idempotency_header: str | None = None


@dataclass(frozen=True)
class Api:
    """An API whose operations share connections. Two APIs are never the same."""

    server: str
    variables: frozenset[str]
    """The environment variables that hold its credentials."""
    timeout: timedelta
    identity: object = field(default_factory=object)

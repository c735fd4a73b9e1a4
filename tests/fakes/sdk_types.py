"""The types of the official SDKs, as validators that forbid unknown fields."""

import functools
import importlib
import inspect
import pkgutil
from collections.abc import Iterable, Mapping
from typing import Any

import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError
from typing_extensions import is_typeddict


def installed(name: str) -> Any:
    """Return a module of an SDK, or skip the test: SDKs are dependencies of the tests alone."""
    return pytest.importorskip(name, reason=f"the SDK {name} is not installed: make setup")


@functools.cache
def _forbid_unknown(package: str) -> None:
    """Make each TypedDict of a package forbid unknown fields."""
    root = installed(package)
    for found in pkgutil.iter_modules(root.__path__, f"{package}."):
        for _, member in inspect.getmembers(importlib.import_module(found.name), inspect.isclass):
            if is_typeddict(member) and member.__module__.startswith(package):
                type.__setattr__(
                    member,
                    "__pydantic_config__",
                    {"extra": "forbid", "arbitrary_types_allowed": True},
                )


@functools.cache
def validator(package: str, module: str, name: str) -> TypeAdapter[Any]:
    """Return the validator of a type of an SDK."""
    _forbid_unknown(package)
    return TypeAdapter(getattr(importlib.import_module(module), name))


def problem_of(adapter: TypeAdapter[Any], value: Any) -> tuple[str, str] | None:
    """Return where a value does not fit a type, and why, or None."""
    try:
        _consume(adapter.validate_python(value))
    except ValidationError as error:
        errors = sorted(error.errors(), key=lambda found: -len(found["loc"]))
        first = next((e for e in errors if e["type"] == "extra_forbidden"), errors[0])
        return ".".join(str(step) for step in first["loc"]), first["msg"]
    return None


def _consume(value: Any) -> None:
    """Read a value to its end: pydantic validates an `Iterable` only while it is read."""
    if isinstance(value, str | bytes | BaseModel):
        return
    if isinstance(value, Mapping):
        for part in value.values():
            _consume(part)
    elif isinstance(value, Iterable):
        for part in value:
            _consume(part)

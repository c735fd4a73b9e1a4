"""The three kinds of models that cross a process boundary.

- `InputModel`: people write it, so an unknown field is rejected.
- `OutputModel`: people read it, so every field is written.
- `WireModel`: workers of different versions exchange it and histories record it, so unknown fields are
  ignored, and fields with their default value are left out.
"""

import functools
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Annotated, Any, Self, get_args, get_origin

from pydantic import (
    BaseModel,
    ConfigDict,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    field_validator,
    model_serializer,
)

from outlast.errors import DefinitionError
from outlast.text.hints import hint

MAX_EXAMPLE_CHARACTERS = 200
"""A call with keyword arguments, as an error message shows it."""


class _KeywordModel(BaseModel):
    """Rejects wrong arguments in code, where they are a mistake; in JSON a newer worker wrote them."""

    def __new__(cls, *positional: Any, **fields: Any) -> Self:
        """Reject positional arguments and unknown fields; the message names the right call or field."""
        # Validation creates instances without arguments.
        if positional:
            call = _keyword_call(cls, positional, fields)
            raise DefinitionError(f"{cls.__name__} takes keyword arguments only: {call}")
        # Each object comes here, so that this takes no longer than it must. `model_fields` is a call.
        known = cls.__pydantic_fields__
        for name in fields:
            if name not in known and all(name != field.alias for field in known.values()):
                nearest = hint(name, known)
                raise DefinitionError(f"{cls.__name__}: unknown field {name!r}; {nearest}")
        return super().__new__(cls)


def _keyword_call(
    model: type[BaseModel], positional: tuple[Any, ...], fields: dict[str, Any]
) -> str:
    """Return the call of `model` in which each argument has the name of a field."""
    free = (name for name in model.model_fields if name not in fields)
    named = {**dict(zip(free, positional, strict=False)), **fields}
    values = ", ".join(f"{name}={value!r}" for name, value in named.items())
    return f"{model.__name__}({values})"[:MAX_EXAMPLE_CHARACTERS]


_MAX_LEVELS = 3
"""Lists and tables in each other that hold numbers. No field has more; pydantic rejects deeper values."""


class TypedNumbers(BaseModel):
    """Rejects booleans where people type numbers: pydantic reads `true` as 1.

    Workers do not write such booleans, so models that only they fill do not take the time.
    """

    @field_validator("*", mode="before")
    @classmethod
    def _is_no_boolean(cls, value: object, info: ValidationInfo) -> object:
        if _has_numbers(cls, info.field_name or ""):
            odd = next((each for each in _scalars_of(value) if isinstance(each, bool)), None)
            if odd is not None:
                raise ValueError(f"{str(odd).lower()} is a boolean; give a number")
        return value


@functools.cache
def _has_numbers(model: type[BaseModel], field: str) -> bool:
    """Tell whether a field takes numbers, or lists or tables of them, and no booleans."""
    known = {
        each for each in _types_of(model.model_fields[field].annotation) if isinstance(each, type)
    }
    return bool(known & {int, float, Decimal}) and bool not in known


def _types_of(annotation: Any) -> Iterator[Any]:
    """Yield the types of the values in an annotation, also of those in its lists and tables."""
    arguments = get_args(annotation)
    if get_origin(annotation) is Annotated:
        arguments = arguments[:1]
    if not arguments:
        yield annotation
    for argument in arguments:
        yield from _types_of(argument)


def _scalars_of(value: object, levels: int = _MAX_LEVELS) -> Iterator[object]:
    """Yield a value, or the values in a list or a table."""
    if not isinstance(value, Mapping | list | tuple):
        yield value
    elif levels:
        for each in value.values() if isinstance(value, Mapping) else value:
            yield from _scalars_of(each, levels - 1)


class InputModel(_KeywordModel, TypedNumbers):
    """A payload that a person writes: an unknown field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class OutputModel(_KeywordModel):
    """A payload that a person reads: every field is written."""

    model_config = ConfigDict(frozen=True)


class WireModel(_KeywordModel):
    """A payload between workers: unknown fields are ignored, and defaults are left out."""

    model_config = ConfigDict(frozen=True)

    @model_serializer(mode="wrap")
    def _without_defaults(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields = type(self).__pydantic_fields__
        return {
            name: value
            for name, value in serialize(self).items()
            if getattr(self, name) != fields[name].default
        }

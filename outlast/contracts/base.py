"""The three kinds of models that cross a process boundary.

- `InputModel`: people write it, so an unknown field is rejected.
- `OutputModel`: people read it, so every field is written.
- `WireModel`: workers of different versions exchange it and histories record it, so unknown fields are
  ignored, and fields with their default value are left out.
"""

from typing import Any, Self

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer

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


class InputModel(_KeywordModel):
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

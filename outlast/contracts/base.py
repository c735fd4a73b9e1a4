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


class InputModel(BaseModel):
    """A payload that a person writes: an unknown field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class OutputModel(BaseModel):
    """A payload that a person reads: every field is written."""

    model_config = ConfigDict(frozen=True)


class WireModel(BaseModel):
    """A payload between workers: unknown fields are ignored, and defaults are left out."""

    model_config = ConfigDict(frozen=True)

    def __new__(cls, *_: Any, **fields: Any) -> Self:
        """Reject an unknown field in code, where it is a mistake; in JSON a newer worker wrote it."""
        # Validation creates instances without arguments.
        for name in fields.keys() - cls.model_fields.keys():
            known = hint(name, cls.model_fields)
            raise DefinitionError(f"{cls.__name__}: unknown field {name!r}; {known}")
        return super().__new__(cls)

    @model_serializer(mode="wrap")
    def _without_defaults(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields = type(self).model_fields
        return {
            name: value
            for name, value in serialize(self).items()
            if getattr(self, name) != fields[name].default
        }

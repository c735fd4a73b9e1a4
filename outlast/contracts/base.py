"""The three kinds of models that cross a boundary, by who writes them.

People write `InputModel`s, so an unknown field is refused. People read `OutputModel`s, so every field is
written. Workers of different versions exchange `WireModel`s, which are recorded in histories: unknown
fields are ignored, and fields with their default value are not written.
"""

from typing import Any, Self

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer

from outlast.errors import DefinitionError
from outlast.texts import hint


class InputModel(BaseModel):
    """Something a person types: an unknown field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class OutputModel(BaseModel):
    """Something a person reads: every field is written."""

    model_config = ConfigDict(frozen=True)


class WireModel(BaseModel):
    """Something workers send each other: unknown fields pass, defaults are not written."""

    model_config = ConfigDict(frozen=True)

    def __new__(cls, *_: Any, **fields: Any) -> Self:
        """Refuse a field that there is not: in JSON it is a newer worker's, in Python it is a slip."""
        # Validation makes its instances without arguments.
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

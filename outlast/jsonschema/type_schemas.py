"""JSON Schemas of Python types."""

from typing import Any

from pydantic import PydanticSchemaGenerationError, PydanticUserError, TypeAdapter
from pydantic.errors import PydanticInvalidForJsonSchema
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode
from pydantic_core import SchemaError

from outlast.errors import DefinitionError
from outlast.jsonschema.schemas import Schema


def schema_of(annotation: Any, *, what: str, mode: JsonSchemaMode = "validation") -> Schema:
    """Return the JSON Schema of a type. Raises `DefinitionError` if it has none; `what` names the type."""
    try:
        return TypeAdapter(annotation).json_schema(mode=mode, schema_generator=_WithoutTitles)
    except (
        PydanticSchemaGenerationError,
        PydanticInvalidForJsonSchema,
        PydanticUserError,
        SchemaError,
    ) as error:
        reason = _reason(error)
        raise DefinitionError(f"{what}: {annotation!r} has no JSON Schema: {reason}") from None


def _reason(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    # pydantic draws the place of a mistake in a pattern, and says what it is in the last line.
    return lines[-1].strip() if isinstance(error, SchemaError) else lines[0]


class _WithoutTitles(GenerateJsonSchema):
    """Leaves out the titles that pydantic derives from field names: they only cost tokens."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 pydantic's signature
        return False

    def get_decimal_pattern(self, schema: Any) -> str | None:
        """Return a pattern for decimals as text, which pydantic 2.14 and later leave out."""
        return self.build_decimal_pattern(schema)

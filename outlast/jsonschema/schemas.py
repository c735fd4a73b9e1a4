"""JSON Schemas of Python types."""

from typing import Any

from pydantic import JsonValue, PydanticSchemaGenerationError, PydanticUserError, TypeAdapter
from pydantic.errors import PydanticInvalidForJsonSchema
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode

from outlast.errors import DefinitionError

Schema = dict[str, JsonValue]


def schema_of(annotation: Any, *, what: str, mode: JsonSchemaMode = "validation") -> Schema:
    """Return the JSON Schema of a type. Raises `DefinitionError` if it has none; `what` names the type."""
    try:
        return TypeAdapter(annotation).json_schema(mode=mode, schema_generator=_WithoutTitles)
    except (
        PydanticSchemaGenerationError,
        PydanticInvalidForJsonSchema,
        PydanticUserError,
    ) as error:
        reason = str(error).splitlines()[0]
        raise DefinitionError(f"{what}: {annotation!r} has no JSON Schema: {reason}") from None


class _WithoutTitles(GenerateJsonSchema):
    """Leaves out the titles that pydantic derives from field names: they only cost tokens."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 pydantic's signature
        return False

    def get_decimal_pattern(self, schema: Any) -> str | None:
        """Return a pattern for decimals as text, which pydantic 2.14 and later leave out."""
        return self.build_decimal_pattern(schema)

"""JSON Schemas of Python types, and whether a schema describes its type fully."""

from collections.abc import Iterator
from typing import Any

from pydantic import PydanticSchemaGenerationError, PydanticUserError, TypeAdapter
from pydantic.errors import PydanticInvalidForJsonSchema
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode
from pydantic_core import SchemaError

from outlast.errors import DefinitionError
from outlast.jsonschema.schemas import Schema

DESCRIBED_KINDS = frozenset(
    (
        *("any", "none", "bool", "int", "float", "str", "literal", "list", "dict", "nullable"),
        *("model", "model-fields", "model-field", "typed-dict", "typed-dict-field"),
        *("dataclass", "dataclass-args", "dataclass-field", "definitions", "definition-ref"),
        *("default", "enum", "union", "tagged-union", "tuple", "json-or-python", "chain"),
    )
)
"""Kinds of types that their JSON Schema describes fully. All others are validated by the type itself."""


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


def core_nodes(core_schema: Any, *, skip: tuple[str, ...] = ()) -> Iterator[dict[str, Any]]:
    """Yield each dictionary in a core schema of pydantic once, without those below the keys in `skip`."""
    waiting, seen = [core_schema], set[int]()
    while waiting:
        node = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, dict):
            yield node
            waiting.extend(value for key, value in node.items() if key not in skip)
        elif isinstance(node, list | tuple):
            waiting.extend(node)


def is_fully_described(adapter: TypeAdapter[Any]) -> bool:
    """Tell whether every value that the JSON Schema of a type allows is a value of the type."""
    return all(
        _is_described(node)
        for node in core_nodes(adapter.core_schema, skip=("metadata", "serialization"))
    )


def _is_described(node: dict[str, Any]) -> bool:
    kind = node.get("type")
    if isinstance(kind, str) and kind not in DESCRIBED_KINDS:
        return False
    is_changed = any(node.get(key) is True for key in ("strict", "custom_init"))
    return not (is_changed or node.get("post_init"))


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

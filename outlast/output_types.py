"""Output types: whether a JSON Schema says all of a type, and what is wrong with an answer."""

from typing import Any

from pydantic import JsonValue, TypeAdapter, ValidationError

from outlast.errors import OutputMismatch
from outlast.text.error_text import error_text
from outlast.text.json_text import to_json
from outlast.validation import explain

SAID_BY_SCHEMA = frozenset(
    (
        *("any", "none", "bool", "int", "float", "str", "literal", "list", "dict", "nullable"),
        *("model", "model-fields", "model-field", "typed-dict", "typed-dict-field"),
        *("dataclass", "dataclass-args", "dataclass-field", "definitions", "definition-ref"),
        *("default", "enum", "union", "tagged-union", "tuple", "json-or-python", "chain"),
    )
)
"""Kinds of types that their JSON Schema describes fully. All others are validated by the type itself."""


def is_said_by_schema(adapter: TypeAdapter[Any]) -> bool:
    """Tell whether each value that the JSON Schema allows is one of the type."""
    waiting: list[Any] = [adapter.core_schema]
    seen: set[int] = set()
    while waiting:
        node = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, dict):
            kind = node.get("type")
            if isinstance(kind, str) and kind not in SAID_BY_SCHEMA:
                return False
            if any(node.get(key) is True for key in ("strict", "custom_init")) or node.get(
                "post_init"
            ):
                return False
            waiting.extend(
                value for key, value in node.items() if key not in ("metadata", "serialization")
            )
        elif isinstance(node, list | tuple):
            waiting.extend(node)
    return True


def parsed_output(adapter: TypeAdapter[Any], output: JsonValue) -> Any:
    """Return the answer of a run as a value of a type. Raises `OutputMismatch` if it is not one."""
    try:
        return adapter.validate_json(to_json(output))
    except ValidationError as error:
        raise OutputMismatch(
            "the answer of the run is not a value of the output type of this agent:"
            f" {type_problem(error)}; do the caller and the worker have different versions of it?"
        ) from None


def type_problem(error: ValidationError) -> str:
    """Return why an answer is not a value of a type, in one line."""
    return error_text(ValueError(explain(error)))

"""Answers as values of the output type of their agent."""

from typing import Any

from pydantic import JsonValue, TypeAdapter, ValidationError

from outlast.errors import OutputMismatch
from outlast.text.error_text import error_text
from outlast.text.json_text import to_json
from outlast.validation import explain


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

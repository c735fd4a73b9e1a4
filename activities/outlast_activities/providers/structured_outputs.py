"""The constraint of a request to vLLM, as outlines writes it.

This is the only module that imports outlines, which takes 0.2 s and 13 MiB.
"""

from typing import Any

from outlines.models.vllm import VLLMTypeAdapter
from outlines.types import JsonSchema

from outlast.errors import ModelError, ModelFailure
from outlast.jsonschema.schemas import Schema
from outlast.text.texts import cut

MAX_REASON = 300
"""Bytes of a library's error message."""


def structured_outputs(schema: Schema) -> dict[str, Any]:
    """Return the request fields that make vLLM enforce a schema.

    Raises `ModelError` if outlines rejects the schema.
    """
    try:
        fields: dict[str, Any] = VLLMTypeAdapter().format_output_type(JsonSchema(schema))
    except Exception as error:  # noqa: BLE001 outlines raises many types for schemas that it rejects
        raise ModelError(
            f"the schema of a decision cannot be used: {cut(str(error), MAX_REASON)}",
            kind=ModelFailure.BAD_REQUEST,
        ) from None
    return fields

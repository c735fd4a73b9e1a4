"""What an MCP server asks in the middle of a call, for the run, and the answers of people to it."""

import json
from typing import Any

from mcp_types import (
    ElicitRequest,
    ElicitRequestFormParams,
    ElicitRequestURLParams,
    InputRequiredResult,
)
from pydantic import JsonValue

from outlast.contracts.bounds import MAX_SERVER_FORMS, MAX_SERVER_STATE
from outlast.errors import InputRequired, ToolError
from outlast.jsonschema.schema_checks import check_schema
from outlast.temporal.call_headers import CALL_INPUT
from outlast.text.texts import cut

MAX_QUESTION_BYTES = 2_000
"""Bytes of the question of a server."""

DONE: dict[str, JsonValue] = {"type": "string", "enum": ["done"]}
"""The answer after a person has opened a link."""


def input_required(tool: str, result: InputRequiredResult) -> InputRequired:
    """Return the failure with which the run asks people. Raises `ToolError` for what nobody can answer."""
    requests = result.input_requests or {}
    if not 0 < len(requests) <= MAX_SERVER_FORMS:
        raise ToolError(f"{tool}: its server asks {len(requests)} questions at once")
    if len(result.request_state or "") > MAX_SERVER_STATE:
        raise ToolError(
            f"{tool}: the state of its server has more than {MAX_SERVER_STATE:,} characters"
        )
    forms = [_form(tool, key, request) for key, request in requests.items()]
    details = {"state": result.request_state, "forms": forms}
    return InputRequired(f"{tool}: its server asks a person for input", details)


def _form(tool: str, key: str, request: object) -> dict[str, JsonValue]:
    params = request.params if isinstance(request, ElicitRequest) else None
    if isinstance(params, ElicitRequestURLParams):
        message = f"{params.message} Open {params.url} and answer 'done'"
        return _question(key, message, DONE) | {"is_link": True}
    if not isinstance(params, ElicitRequestFormParams):
        raise ToolError(f"{tool}: its server asks for something that is not a form or a link")
    schema: dict[str, Any] = {"type": "object", **params.requested_schema}
    try:
        check_schema(schema, f"the form of {tool}")
    except ValueError as error:
        raise ToolError(f"{tool}: {cut(str(error), MAX_QUESTION_BYTES)}") from None
    return _question(key, params.message, schema)


def _question(key: str, message: str, schema: dict[str, Any]) -> dict[str, JsonValue]:
    return {"key": key, "message": cut(message, MAX_QUESTION_BYTES), "answer_schema": schema}


def answers_of_people() -> dict[str, Any]:
    """Return the arguments of a call that brings back answers, or none for a first call."""
    text = CALL_INPUT.get()
    if not text:
        return {}
    given = json.loads(text)
    return {"request_state": given["state"], "input_responses": given["responses"]}

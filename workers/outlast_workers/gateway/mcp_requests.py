"""Human requests of a run as elicitations of MCP, and their answers as decisions.

An elicitation is a form with one level of simple fields. So an answer of another shape is one field,
whose text is JSON.
"""

from collections.abc import Mapping
from typing import Any

from mcp_types import ElicitRequest, ElicitRequestFormParams, ElicitResult, InputRequest

from outlast.client.waiting import request_summary
from outlast.contracts.human import HumanDecision, PendingRequest
from outlast.errors import BadRequest
from outlast.text.json_text import from_json, to_json
from outlast.validation import validated

ANSWER = "answer"
"""The only field of a form for an answer that is not a flat object."""

_SIMPLE = frozenset({"string", "integer", "number", "boolean"})


def request_key(request: PendingRequest) -> str:
    """Return the key of a request: another one after an edit, because it asks for something else."""
    return f"{request.request_id}#{request.arguments_hash}"


def elicitations(requests: list[PendingRequest]) -> dict[str, InputRequest]:
    """Return the pending requests of a run as elicitations, by their keys."""
    return {request_key(request): _elicitation(request) for request in requests}


def decisions(requests: list[PendingRequest], responses: Mapping[str, Any]) -> list[HumanDecision]:
    """Return the decisions in the responses of a client. Responses to other requests are ignored.

    Raises `BadRequest` for a response of a wrong form. A cancelled form decides nothing.
    """
    found: list[HumanDecision] = []
    for request in requests:
        response = responses.get(request_key(request))
        if response is None:
            continue
        result = _elicit_result(response)
        if result.action != "cancel":
            found.append(_decision(request, result))
    return found


def _elicit_result(response: object) -> ElicitResult:
    if isinstance(response, ElicitResult):
        return response
    try:
        return ElicitResult.model_validate(response)
    except ValueError:
        raise BadRequest("inputResponses: a response is not the result of an elicitation") from None


def _elicitation(request: PendingRequest) -> ElicitRequest:
    lines = [request_summary(request)]
    lines += [f"Agent: {request.agent}"] if request.agent else []
    lines += [f"The user wrote: {request.user_message}"] if request.user_message else []
    if request.kind == "question":
        lines.append(f"Question: {request.question}")
        schema = _answer_form(request)
    else:
        lines.append(f"Arguments: {to_json(request.arguments)}")
        schema = _APPROVAL_FORM
    params = ElicitRequestFormParams(message="\n".join(lines), requested_schema=schema)
    return ElicitRequest(params=params)


_APPROVAL_FORM: dict[str, Any] = {
    "type": "object",
    "properties": {
        "decision": {"type": "string", "enum": ["approve", "deny"], "title": "Decision"},
        "comment": {"type": "string", "title": "Comment", "description": "The model reads it."},
    },
    "required": ["decision"],
}


def _answer_form(request: PendingRequest) -> dict[str, Any]:
    schema: Any = request.answer_schema
    if _is_flat(schema):
        return {
            "type": "object",
            "properties": schema["properties"],
            "required": schema.get("required", []),
        }
    kind = schema.get("type") if isinstance(schema, dict) else None
    if kind in _SIMPLE:
        return _one_field({**schema, "title": "Answer"})
    return _one_field(
        {
            "type": "string",
            "title": "Answer",
            "description": f"JSON of the schema {to_json(schema)}",
        }
    )


def _one_field(schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": {ANSWER: schema}, "required": [ANSWER]}


def _is_flat(schema: Any) -> bool:
    """Return whether a schema is a form: an object whose fields are all simple."""
    if not isinstance(schema, dict) or schema.get("type") != "object":
        return False
    fields = schema.get("properties")
    return (
        isinstance(fields, dict)
        and bool(fields)
        and all(
            isinstance(field, dict) and field.get("type") in _SIMPLE for field in fields.values()
        )
    )


def _decision(request: PendingRequest, result: ElicitResult) -> HumanDecision:
    content: dict[str, Any] = dict(result.content or {})
    fields: dict[str, Any] = {"request_id": request.request_id}
    if request.arguments_hash:
        fields["arguments_hash"] = request.arguments_hash
    if result.action == "decline":
        return validated(HumanDecision, {**fields, "decision": "deny"})
    if request.kind == "question":
        return validated(
            HumanDecision, {**fields, "decision": "answer", "answer": _answer(request, content)}
        )
    if content.get("decision") not in {"approve", "deny"}:
        raise BadRequest(f"{request.request_id}: decision: must be 'approve' or 'deny'")
    unknown = sorted(content.keys() - _APPROVAL_FORM["properties"].keys())
    if unknown:  # such as other arguments, which the call would not have
        raise BadRequest(f"{request.request_id}: {unknown[0][:40]!r} is no field of the form")
    comment = content.get("comment") or ""
    return validated(HumanDecision, {**fields, "decision": content["decision"], "comment": comment})


def _answer(request: PendingRequest, content: dict[str, Any]) -> Any:
    schema: Any = request.answer_schema
    if _is_flat(schema):
        return content
    value = content.get(ANSWER)
    kind = schema.get("type") if isinstance(schema, dict) else None
    if kind in _SIMPLE or not isinstance(value, str):
        return value
    try:
        return from_json(value)
    except ValueError:
        raise BadRequest(f"{request.request_id}: {ANSWER}: must be JSON of the schema") from None

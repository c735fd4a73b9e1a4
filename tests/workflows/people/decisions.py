"""Requests of a run, and decisions about them."""

from datetime import UTC, datetime
from typing import Any

from outlast_activities.policies.schema_checker import SchemaChecker
from outlast_workflows.people.steering_rules import (
    decision_rejection,
    settle,
)
from outlast_workflows.state import InboundState
from pydantic import JsonValue

from outlast.contracts.human import (
    HumanDecision,
    PendingRequest,
    hash_of,
)
from outlast.jsonschema.schemas import Schema
from outlast.text.json_text import to_json

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PARAMETERS: Schema = {
    "type": "object",
    "properties": {"id": {"type": "string"}, "usd": {"type": "number", "multipleOf": 0.01}},
    "required": ["id", "usd"],
    "additionalProperties": False,
}
ASKED: dict[str, JsonValue] = {"id": "42", "usd": 80}
EDITED: dict[str, JsonValue] = {"id": "42", "usd": 9}

_checker = SchemaChecker()


def problem(value: JsonValue, schema: Schema) -> str | None:
    return _checker.problem(value, schema, key=to_json(schema))


def call_request(**fields: Any) -> PendingRequest:
    return PendingRequest(
        **{
            "request_id": "1.1",
            "tool": "refund",
            "arguments": ASKED,
            "arguments_hash": hash_of(ASKED),
            "audience": "leads",
            "opened_at": NOW,
            "expires_at": NOW,
            **fields,
        }
    )


def question(schema: JsonValue) -> PendingRequest:
    return call_request(kind="question", question="Which?", answer_schema=schema)


def steering_with(request: PendingRequest | None = None) -> InboundState:
    return InboundState(pending={request.request_id: request} if request else {})


def decision(what: str, **fields: Any) -> HumanDecision:
    return HumanDecision.model_validate({"request_id": "1.1", "decision": what, **fields})


def refusal(given_decision: HumanDecision, inbound: InboundState) -> str | None:
    return decision_rejection(
        given_decision,
        inbound,
        parameters=PARAMETERS,
        schema_check=problem,
        proof_check=lambda *_: None,
    )


def decided(inbound: InboundState, *decisions: HumanDecision) -> list[str]:
    """Take decisions one after another; return the sentence of each, a rejection in parentheses."""
    sentences = []
    for one in decisions:
        refused = refusal(one, inbound)
        sentences.append(f"({refused})" if refused else settle(one, inbound, now=NOW))
    return sentences

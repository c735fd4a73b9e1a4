"""Decisions of people as they are sent: what is malformed is rejected."""

from typing import Any

import pytest
from pydantic import JsonValue, ValidationError

from outlast.contracts.human import (
    MAX_VALUE_BYTES,
    MAX_VALUE_DEPTH,
    HumanDecision,
)
from tests.workflows.people.decisions import decision


def nested(levels: int) -> JsonValue:
    value: JsonValue = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    "wrong",
    [
        {"decision": "edit"},
        {"decision": "approve", "arguments": {}},
        {"decision": "answer"},
        {"decision": "approve", "answer": None},
        {"decision": "answer", "answer": "x" * MAX_VALUE_BYTES},
        {"decision": "edit", "arguments": {"id": "ж" * (MAX_VALUE_BYTES // 2)}},
        {"decision": "answer", "answer": nested(MAX_VALUE_DEPTH + 1)},
        {"decision": "approve", "by": "x" * 201},
        {"decision": "approve", "comment": "x" * 2_001},
        {"decision": "approve", "request_id": ""},
    ],
)
def test_a_malformed_decision_is_no_decision(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        HumanDecision.model_validate({"request_id": "1.1", **wrong})


def test_a_large_answer_and_a_deep_one_are_taken() -> None:
    decision("answer", answer="x" * (MAX_VALUE_BYTES - 2))
    decision("answer", answer=nested(MAX_VALUE_DEPTH))

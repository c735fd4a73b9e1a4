"""The fakes refuse: each rule fires, in the service's words."""

import copy
import json
from typing import Any

import pytest

from tests.fakes.fake_anthropic import VERSION, FakeAnthropic
from tests.fakes.service import Play, Received

CLOSED: dict[str, Any] = {
    "type": "object",
    "properties": {"answer": {"type": "string"}},
    "required": ["answer"],
    "additionalProperties": False,
}
TOOL = {"name": "search", "description": "Search.", "input_schema": CLOSED, "strict": True}
GO = {"role": "user", "content": "go"}
CALL = {
    "role": "assistant",
    "content": [{"type": "tool_use", "id": "toolu_1", "name": "search", "input": {}}],
}
RESULT = {
    "role": "user",
    "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "x"}],
}
ANTHROPIC: dict[str, Any] = {
    "model": "claude-opus-5-5",
    "max_tokens": 4_096,
    "stream": True,
    "messages": [GO],
    "tools": [TOOL],
    "output_config": {"format": {"type": "json_schema", "schema": CLOSED}},
}


def many(count: int, part: Any) -> dict[str, Any]:
    properties = {f"p{number}": part for number in range(count)}
    return {**CLOSED, "properties": properties, "required": []}


ANTHROPIC_REFUSALS: dict[str, tuple[dict[str, Any], str]] = {
    "unknown field": ({"nonsense": 1}, "Extra inputs are not permitted"),
    "sampling": ({"temperature": 1.0}, "temperature"),
    "unknown model": ({"model": "gpt-4"}, "model: gpt-4"),
    "forced": ({"tool_choice": {"type": "any"}}, "not supported on this model"),
    "budget": ({"thinking": {"type": "enabled", "budget_tokens": 2_048}}, "not supported"),
    "no thinking": ({"thinking": {"type": "disabled"}}, "not supported on this model"),
    "choice without tools": ({"tools": [], "tool_choice": {"type": "auto"}}, "providing tools"),
    "prefill": ({"messages": [GO, {"role": "assistant", "content": "{"}]}, "prefill"),
    "call without result": ({"messages": [GO, CALL, GO]}, "without `tool_result` blocks"),
    "result without call": ({"messages": [RESULT]}, "unexpected `tool_use_id`"),
    "empty text": (
        {"messages": [{"role": "user", "content": [{"type": "text", "text": ""}]}]},
        "must be non-empty",
    ),
    "open object": (
        {"tools": [{**TOOL, "input_schema": {"type": "object"}}]},
        "must be explicitly set to false",
    ),
    "root union": (
        {"tools": [{**TOOL, "strict": False, "input_schema": {"type": "object", "anyOf": []}}]},
        "at the top level",
    ),
    "property name": (
        {
            "tools": [
                {**TOOL, "strict": False, "input_schema": many(1, {}) | {"properties": {"$": {}}}}
            ]
        },
        "Property keys should match pattern",
    ),
    "optional": (
        {"tools": [{**TOOL, "input_schema": many(25, {"type": "null"})}]},
        "too many optional",
    ),
    "foreign thoughts": (
        {
            "messages": [
                GO,
                {
                    "role": "assistant",
                    "content": [
                        {"type": "thinking", "thinking": "hm", "signature": "x.y"},
                        *CALL["content"],
                    ],
                },
                RESULT,
            ]
        },
        "Invalid `signature`",
    ),
}


def anthropic_request(fake: FakeAnthropic, changes: dict[str, Any]) -> Received:
    headers = {"x-api-key": fake.key, "anthropic-version": VERSION}
    return Received("/v1/messages", headers, {**copy.deepcopy(ANTHROPIC), **changes})


@pytest.mark.parametrize("rule", ANTHROPIC_REFUSALS)
def test_anthropic_refuses(rule: str) -> None:
    changes, words = ANTHROPIC_REFUSALS[rule]
    fake = FakeAnthropic()
    answered = fake.handle(anthropic_request(fake, changes))
    assert answered.status in (400, 404)
    assert words in json.dumps(answered.body)


def test_anthropic_binds_thoughts_to_what_was_before_them() -> None:
    fake = FakeAnthropic()
    fake.play(*[Play(calls=[("search", {"answer": "a"})])] * 3)
    events = fake.handle(anthropic_request(fake, {})).events or []
    deltas = [event["delta"] for _, event in events if event["type"] == "content_block_delta"]
    thought = {
        "type": "thinking",
        "thinking": "".join(delta.get("thinking", "") for delta in deltas),
        "signature": next(d["signature"] for d in deltas if d["type"] == "signature_delta"),
    }
    turn = {"role": "assistant", "content": [thought, *CALL["content"]]}
    assert fake.handle(anthropic_request(fake, {"messages": [GO, turn, RESULT]})).status == 200
    other = {"role": "user", "content": "another go"}
    changed = fake.handle(anthropic_request(fake, {"messages": [other, turn, RESULT]}))
    assert "bound to a different conversation" in json.dumps(changed.body)


def test_anthropic_answers_in_the_forms_of_the_sdk() -> None:
    from tests.fakes.sdk_types import problem_of, validator  # noqa: PLC0415 skips without the SDK

    adapter = validator(
        "anthropic.types", "anthropic.types.raw_message_stream_event", "RawMessageStreamEvent"
    )
    fake = FakeAnthropic()
    fake.play(Play(calls=[("search", {"answer": "a"})]), Play(answer="b"), Play(refusal="cyber"))
    for _ in range(3):
        for name, event in fake.handle(anthropic_request(fake, {})).events or []:
            assert name == event["type"]
            assert event["type"] == "ping" or problem_of(adapter, event) is None, event

"""The fakes refuse: each rule fires, in the service's words."""

import copy
import json
from typing import Any

import pytest

from tests.fakes.fake_anthropic import VERSION, FakeAnthropic
from tests.fakes.fake_gemini import FakeGemini
from tests.fakes.fake_openai_responses import FakeOpenAIResponses
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


FUNCTION = {
    "type": "function",
    "name": "search",
    "description": "Search.",
    "parameters": CLOSED,
    "strict": True,
}
OPENAI: dict[str, Any] = {
    "model": "gpt-6-sol",
    "stream": True,
    "store": False,
    "input": [GO],
    "tools": [FUNCTION],
}
MADE = {"type": "function_call", "call_id": "call_1", "name": "search", "arguments": "{}"}
OUTPUT = {"type": "function_call_output", "call_id": "call_1", "output": "x"}
REASONING = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x"}


def response_format(schema: Any) -> dict[str, Any]:
    form = {"type": "json_schema", "name": "x", "strict": True, "schema": schema}
    return {"text": {"format": form}}


OPENAI_REFUSALS: dict[str, tuple[dict[str, Any], str]] = {
    "unknown field": ({"nonsense": 1}, "Unknown parameter"),
    "unknown model": ({"model": "gpt-x"}, "model_not_found"),
    "sampling": ({"temperature": 0.2}, "Unsupported parameter"),
    "effort": ({"reasoning": {"effort": "minimal"}}, "unsupported_value"),
    "no tools": ({"tools": []}, "empty array"),
    "choice": ({"tool_choice": {"type": "function", "name": "x"}}, "not found in 'tools'"),
    "root union": (response_format({"anyOf": [CLOSED]}), "invalid_json_schema"),
    "optional": (response_format({**CLOSED, "required": []}), "Missing 'answer'"),
    "open object": (
        response_format({**CLOSED, "properties": {"answer": {"type": "object"}}}),
        "'additionalProperties' is required",
    ),
    "one of": (
        response_format({**CLOSED, "properties": {"answer": {"oneOf": [], "type": "string"}}}),
        "'oneOf' is not permitted",
    ),
    "call without output": ({"input": [GO, MADE]}, "No tool output found"),
    "output without call": ({"input": [GO, OUTPUT]}, "No tool call found"),
    "reasoning alone": ({"input": [GO, REASONING]}, "without its required following item"),
    "foreign reasoning": ({"input": [GO, REASONING, MADE, OUTPUT]}, "could not be verified"),
}


@pytest.mark.parametrize("rule", OPENAI_REFUSALS)
def test_openai_refuses(rule: str) -> None:
    changes, words = OPENAI_REFUSALS[rule]
    fake = FakeOpenAIResponses()
    body = {**copy.deepcopy(OPENAI), **changes}
    answered = fake.handle(Received("/v1/responses", {"authorization": f"Bearer {fake.key}"}, body))
    assert answered.status in (400, 404)
    assert words in json.dumps(answered.body)


def test_openai_answers_in_the_forms_of_the_sdk() -> None:
    from tests.fakes.sdk_types import problem_of, validator  # noqa: PLC0415 skips without the SDK

    package = "openai.types.responses"
    adapter = validator(package, f"{package}.response_stream_event", "ResponseStreamEvent")
    fake = FakeOpenAIResponses()
    plays = (Play(calls=[("search", {"answer": "a"})]), Play(text="b"), Play(refusal="no"))
    fake.play(*plays)
    headers = {"authorization": f"Bearer {fake.key}"}
    for _ in plays:
        for name, event in fake.handle(Received("/v1/responses", headers, OPENAI)).events or []:
            assert name == event["type"]
            assert problem_of(adapter, event) is None, (event, problem_of(adapter, event))


DECLARED = {"name": "search", "description": "Search.", "parametersJsonSchema": CLOSED}
GEMINI: dict[str, Any] = {
    "contents": [{"role": "user", "parts": [{"text": "go"}]}],
    "tools": [{"functionDeclarations": [DECLARED]}],
}
FUNCTION_CALL = {"functionCall": {"name": "search", "args": {}}}
ANSWERED = {"role": "user", "parts": [{"functionResponse": {"name": "search", "response": {}}}]}


def calling(**config: Any) -> dict[str, Any]:
    return {"toolConfig": {"functionCallingConfig": config}}


def generation(**config: Any) -> dict[str, Any]:
    return {"generationConfig": config}


def history(*contents: Any) -> dict[str, Any]:
    return {"contents": [*GEMINI["contents"], *contents]}


GEMINI_REFUSALS: dict[str, tuple[str, dict[str, Any], str]] = {
    "unknown field": ("gemini-3.5-flash", {"nonsense": 1}, "Cannot find field"),
    "unknown keyword": (
        "gemini-3.5-flash",
        generation(
            responseMimeType="application/json", responseJsonSchema={**CLOSED, "minProperties": 1}
        ),
        "Cannot find field",
    ),
    "both schemas": (
        "gemini-3.5-flash",
        generation(
            responseMimeType="application/json",
            responseJsonSchema=CLOSED,
            responseSchema={"type": "OBJECT"},
        ),
        "Only one of",
    ),
    "schema with tools": (
        "gemini-2.5-pro",
        generation(responseMimeType="application/json", responseJsonSchema=CLOSED),
        "unsupported",
    ),
    "names with AUTO": (
        "gemini-3.5-flash",
        calling(mode="AUTO", allowedFunctionNames=["search"]),
        "ANY or VALIDATED",
    ),
    "level": (
        "gemini-3-pro",
        generation(thinkingConfig={"thinkingLevel": "MINIMAL"}),
        "not supported",
    ),
    "budget": ("gemini-2.5-pro", generation(thinkingConfig={"thinkingBudget": 0}), "Budget 0"),
    "signature": (
        "gemini-3.5-flash",
        history({"role": "model", "parts": [FUNCTION_CALL]}, ANSWERED),
        "missing a thought_signature",
    ),
    "foreign signature": (
        "gemini-3.5-flash",
        history(
            {"role": "model", "parts": [{**FUNCTION_CALL, "thoughtSignature": "eA=="}]}, ANSWERED
        ),
        "not valid",
    ),
    "call without response": (
        "gemini-3.5-flash",
        history({"role": "model", "parts": [FUNCTION_CALL]}),
        "number of function response parts",
    ),
    "response without call": ("gemini-3.5-flash", history(ANSWERED), "immediately after"),
}


@pytest.mark.parametrize("rule", GEMINI_REFUSALS)
def test_gemini_refuses(rule: str) -> None:
    model, changes, words = GEMINI_REFUSALS[rule]
    fake = FakeGemini()
    body = {**copy.deepcopy(GEMINI), **changes}
    path = f"/v1beta/models/{model}:streamGenerateContent?alt=sse"
    answered = fake.handle(Received(path, {"x-goog-api-key": fake.key}, body))
    assert answered.status == 400
    assert words in json.dumps(answered.body)


def test_gemini_answers_in_the_forms_of_the_sdk() -> None:
    from tests.fakes.sdk_types import installed  # noqa: PLC0415 skips without the SDK

    types = installed("google.genai.types")
    fake = FakeGemini()
    fake.play(Play(calls=[("search", {"answer": "a"})]), Play(text="b"), Play(refusal="SAFETY"))
    path = "/v1beta/models/gemini-3.5-flash:streamGenerateContent?alt=sse"
    for _ in range(3):
        for _, chunk in (
            fake.handle(Received(path, {"x-goog-api-key": fake.key}, GEMINI)).events or []
        ):
            types.GenerateContentResponse.model_validate(chunk)

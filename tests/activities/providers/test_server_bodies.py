"""Answers of model servers as they are: real bytes from a real server on loopback."""

from typing import Any

import pytest

from outlast.model_server import Completion
from tests.activities.providers.raw_answers import ANSWER, Failed, chunk, event, message, outcome_of
from tests.activities.providers.raw_server import JSON, SSE, response

FINISH_REASONS = [
    *(
        (reason, "stop")
        for reason in (
            "stop",
            "STOP",
            "eos",
            "eos_token",
            "tool_calls",
            "end_turn",
            "COMPLETE",
            "stop_sequence",
            "function_call",
        )
    ),
    *(
        (reason, "length")
        for reason in (
            "length",
            "model_length",
            "max_tokens",
            "MAX_TOKENS",
            "max_output_tokens",
            "model_context_window_exceeded",
            "token limit",
        )
    ),
    *(
        (reason, Failed.REFUSAL)
        for reason in (
            "content_filter",
            "sensitive",
            "content_filter: RECITATION",
            "SAFETY",
            "guardrail_intervened",
            "PROHIBITED_CONTENT",
            "blocklist",
            "refusal",
            "ERROR_TOXIC",
            "content-filter",
        )
    ),
    *(
        (reason, Failed.SERVER_ERROR)
        for reason in (
            "error",
            "abort",
            "aborted",
            "cancelled",
            "unknown",
            "OTHER",
            "MALFORMED_FUNCTION_CALL",
            7,
            "x" * 10_000,
        )
    ),
    ("network_error", Failed.CONNECTION),
    ("insufficient_system_resource", Failed.OVERLOADED),
    ("rate_limit", Failed.THROTTLED),
    ("timeout", Failed.TIMEOUT),
    ({"type": "length", "length": 10}, "length"),
    ({"type": "stop", "matched": 2}, "stop"),
    ({"type": "abort", "message": "too many", "status_code": 503}, Failed.SERVER_ERROR),
]


@pytest.mark.parametrize("form", ["single", "stream"])
@pytest.mark.parametrize(("reason", "end"), FINISH_REASONS)
async def test_the_end_of_an_answer_is_understood_in_many_words(
    reason: Any, end: str, form: str
) -> None:
    text = '{"answer":"y'
    body = message(text, reason) if form == "single" else chunk(text, "") + chunk(finish=reason)

    outcome = await outcome_of(response(body, JSON if form == "single" else SSE))

    if isinstance(outcome, Completion):
        assert outcome.finish_reason == end
    else:
        assert outcome.kind is end
        assert outcome.text == text


CONTENTS = [
    [{"type": "text", "text": ANSWER}],
    {"type": "text", "text": ANSWER},
    [ANSWER],
    [{"text": ANSWER}],
    [{"type": "output_text", "text": ANSWER}],
    [
        {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
        {"type": "text", "text": ANSWER},
    ],
    [{"type": "thinking", "thinking": "hm {}"}, {"type": "text", "text": ANSWER}],
    [{"type": "reasoning", "text": "hm"}, {"type": "text", "text": ANSWER}],
    [{"type": "text", "text": {"value": ANSWER}}],
    [{"type": "text", "text": '{"answer":'}, {"type": "text", "text": '"y"}'}],
    [{"type": "image_url", "image_url": {"url": "x"}}, {"type": "text", "text": ANSWER}],
    [None, 7, {"type": "text", "text": ANSWER}, {"type": 3, "text": "no"}],
]


@pytest.mark.parametrize("form", ["single", "stream"])
@pytest.mark.parametrize("content", CONTENTS)
async def test_a_content_in_parts_is_read(content: Any, form: str) -> None:
    body = message(content) if form == "single" else chunk(content) + chunk(finish="stop")

    outcome = await outcome_of(response(body, JSON if form == "single" else SSE))

    assert isinstance(outcome, Completion), outcome
    assert outcome.text == ANSWER


ODD_CHUNKS = [
    {"choices": None},
    {"choices": {}},
    {"choices": "x"},
    {"choices": [None]},
    {"choices": [{"delta": None}]},
    {"choices": [{"delta": "x"}]},
    {"choices": [{"delta": [1]}]},
    {"choices": [{"delta": {"content": 7}}]},
    {"choices": [{"delta": {"content": None, "reasoning_content": 7}}]},
    {"choices": [{"index": 1, "delta": {"content": "another choice"}}]},
    {"model": 7, "choices": []},
    {"model": {"a": 1}},
    {"usage": 7},
    {"usage": [1]},
    {"usage": {"prompt_tokens": {}, "completion_tokens": []}},
    {"timings": {"cache_n": "x", "prompt_n": [], "predicted_n": None}},
    {"timings": "x"},
]


@pytest.mark.parametrize("odd", ODD_CHUNKS)
async def test_an_odd_chunk_does_not_cost_the_answer(odd: Any) -> None:
    body = event(odd) + chunk(ANSWER) + event(odd) + chunk(finish="stop") + event(odd)

    outcome = await outcome_of(response(body, SSE))

    assert isinstance(outcome, Completion), outcome
    assert outcome.text == ANSWER


USAGES = [
    ({"prompt_tokens": 12, "completion_tokens": 3, "prompt_tokens_details": [1]}, (12, 3, 0)),
    ({"prompt_tokens": 12, "completion_tokens": 3, "prompt_tokens_details": "x"}, (12, 3, 0)),
    ({"prompt_tokens": 12, "completion_tokens": 3.5}, (12, 4, 0)),
    ({"prompt_tokens": 12.0, "completion_tokens": 3}, (12, 3, 0)),
    ({"prompt_tokens": -(10**9), "completion_tokens": 3}, (100, 3, 0)),
    ({"prompt_tokens": 12, "completion_tokens": -1}, (12, 4, 0)),
    ({"prompt_tokens": 0, "completion_tokens": 0}, (100, 4, 0)),
    ({"prompt_tokens": 10**30, "completion_tokens": 3}, (100, 3, 0)),
    ({"prompt_tokens": "12", "completion_tokens": None}, (100, 4, 0)),
    ({"prompt_tokens": True, "completion_tokens": False}, (100, 4, 0)),
    ({"prompt_tokens": 1e400, "completion_tokens": float("nan")}, (100, 4, 0)),
    (
        {
            "prompt_tokens": 12,
            "completion_tokens": 3,
            "prompt_tokens_details": {"cached_tokens": 99},
        },
        (12, 3, 12),
    ),
    (
        {
            "prompt_tokens": 12,
            "completion_tokens": 3,
            "prompt_tokens_details": {"cached_tokens": -5},
        },
        (12, 3, 0),
    ),
    ({"completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 5}}, (100, 3, 5)),
    ({}, (100, 4, 0)),
]


@pytest.mark.parametrize(("usage", "counted"), USAGES)
async def test_a_usage_that_cannot_be_read_counts_as_absent(
    usage: Any, counted: tuple[int, int, int]
) -> None:
    body = chunk(ANSWER) + chunk(finish="stop") + event({"choices": [], "usage": usage})

    outcome = await outcome_of(response(body, SSE))

    assert isinstance(outcome, Completion), outcome
    tokens = outcome.tokens
    assert (
        tokens.prompt_tokens,
        tokens.completion_tokens,
        tokens.cached_prompt_tokens,
    ) == counted


SURROGATES = [
    (("\ud83d", "\ude00"), "😀"),
    (("a\ud83d", "\ude00b"), "a😀b"),
    (("\ud83d",), "\ufffd"),
    (("\ude00",), "\ufffd"),
    (("\ude00", "\ud83d"), "\ufffd\ufffd"),
    (("\ud83d", "", "\ude00"), "😀"),
    (("\ud83d", "x", "\ude00"), "\ufffdx\ufffd"),
    (("\ud83d\ud83d", "\ude00"), "\ufffd😀"),
    (("\ud83d\ude00", "\ud83d"), "😀\ufffd"),
    (("é\udcff",), "é\ufffd"),
]


@pytest.mark.parametrize(("pieces", "text"), SURROGATES)
async def test_halves_of_surrogate_pairs_are_joined_or_replaced(
    pieces: tuple[str, ...], text: str
) -> None:
    body = "".join(map(chunk, pieces)) + chunk(finish="stop")

    outcome = await outcome_of(response(body, SSE))

    assert isinstance(outcome, Completion), outcome
    assert outcome.text == text

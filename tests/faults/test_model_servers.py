"""Model servers as they are: errors in odd forms, odd ends, thoughts, and halves of characters."""

import json
from datetime import timedelta
from typing import Any

import pytest
from outlast_activities.generation.decision_text import decision_value
from outlast_activities.policies.attempts import GENERATE_ATTEMPTS
from outlast_activities.policies.recovery import retry_decision
from outlast_activities.providers.chat_completions import ChatCompletions

from outlast.errors import ModelError, ModelFailure, NotReady
from outlast.model_server import Completion, ServerOptions
from tests.activities.providers.raw_answers import chunk
from tests.activities.providers.raw_server import SSE, RawServer, response
from tests.faults.lab import asked, completed

Failed = ModelFailure
ANSWER = '{"answer":"y"}'


def whole(body: Any, status: int = 200) -> bytes:
    return response(json.dumps(body), status=status)


def stream(*events: str) -> bytes:
    return response("".join(events), SSE)


def usage(counts: Any) -> bytes:
    last = json.dumps({"choices": [], "usage": counts})
    return stream(chunk(ANSWER), chunk(finish="stop"), f"data: {last}\n\n")


ERRORS = {
    "F7 FastAPI": (
        whole({"detail": [{"loc": ["body", "stop"], "msg": "extra fields not permitted"}]}, 422),
        Failed.BAD_REQUEST,
        "extra fields not permitted",
    ),
    "F7 Ollama": (
        whole({"error": "model 'x' not found, try pulling it first"}, 404),
        Failed.UNKNOWN_MODEL,
        "try pulling it first",
    ),
    "F7 a detail": (
        whole({"detail": "Unauthorized: bad key"}, 401),
        Failed.AUTHENTICATION,
        "bad key",
    ),
    "F7 an error in a 200": (
        whole({"object": "error", "message": "The model `m` does not exist.", "code": 404}),
        Failed.UNKNOWN_MODEL,
        "does not exist",
    ),
    "F7 an error in a stream": (
        stream('data: {"error": "This model\'s maximum context length is 10 tokens"}\n\n'),
        Failed.CONTEXT_OVERFLOW,
        "maximum context length",
    ),
    "F8 broken off": (
        stream(chunk('{"answer":"y'), chunk(finish="error")),
        Failed.SERVER_ERROR,
        "error",
    ),
    "F8 network error": (
        stream(chunk('{"answer":"y'), chunk(finish="network_error")),
        Failed.CONNECTION,
        "network_error",
    ),
    "F8 an error in a choice": (
        whole(
            {
                "choices": [
                    {
                        "index": 0,
                        "message": {"content": ""},
                        "finish_reason": "error",
                        "error": {"code": 503, "message": "upstream overloaded"},
                    }
                ]
            }
        ),
        Failed.OVERLOADED,
        "upstream overloaded",
    ),
}


@pytest.mark.parametrize(("answer", "kind", "words"), ERRORS.values(), ids=list(ERRORS))
async def test_an_error_keeps_its_words_and_its_class(
    answer: bytes, kind: ModelFailure, words: str
) -> None:
    error = await completed(answer)
    assert isinstance(error, ModelError), error
    assert (error.kind, words in error.message) == (kind, True), error.message


ANSWERS = {
    "F16 halves of a character": (
        stream(
            chunk('{"answer":"'),
            chunk("\ud83d"),
            chunk("\ude00"),
            chunk('"}'),
            chunk(finish="stop"),
        ),
        '{"answer":"😀"}',
    ),
    "F18 content in parts": (
        stream(chunk([{"type": "text", "text": ANSWER}]), chunk(finish="stop")),
        ANSWER,
    ),
    "F25 details in a list": (
        usage({"prompt_tokens": 12, "completion_tokens": 3, "prompt_tokens_details": [1]}),
        ANSWER,
    ),
    "F25 a fraction of a token": (usage({"prompt_tokens": 12, "completion_tokens": 3.5}), ANSWER),
}


@pytest.mark.parametrize(("answer", "text"), ANSWERS.values(), ids=list(ANSWERS))
async def test_an_odd_answer_is_an_answer(answer: bytes, text: str) -> None:
    completion = await completed(answer)
    assert isinstance(completion, Completion), completion
    assert completion.text == text


@pytest.mark.parametrize("key", ["sk-secret-123\n", "sk-secret-123\r\n", " sk-secret-123 "])
async def test_f3_an_api_key_is_stripped_and_never_in_a_message(key: str) -> None:
    error = await asked(RawServer("http://127.0.0.1:9/v1"), api_key=key)
    assert isinstance(error, ModelError)
    assert error.kind == Failed.CONNECTION
    assert "sk-secret" not in str(error.message)


def test_f9_a_server_that_asks_for_short_waits_is_waited_for_as_long_as_others() -> None:
    polite = timedelta()
    for attempt in range(1, GENERATE_ATTEMPTS):
        decision = retry_decision(
            Failed.THROTTLED,
            retry_after=timedelta(seconds=1),
            is_last_leg=True,
            attempt=attempt,
        )
        assert decision.retryable
        polite += decision.wait or timedelta()
    assert polite > timedelta(minutes=15)


THOUGHTS = [
    '<think>hm</think>\n{"answer":"y"}',
    'hm</think>{"answer":"y"}',
    'Here you are:\n```json\n{"answer":"y"}\n```',
    '```json {"answer":"y"} ```',
    '{"answer":"y"}\nThat is all.',
    '{"answer":"y"}<|im_end|>',
]


@pytest.mark.parametrize("text", THOUGHTS)
def test_f17_thoughts_and_prose_around_a_decision_are_left_out(text: str) -> None:
    assert decision_value(text) == {"answer": "y"}


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:1080", "socks://127.0.0.1:1080"])
def test_f26_a_proxy_that_the_client_does_not_know_is_one_line(
    proxy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALL_PROXY", proxy)
    with pytest.raises(NotReady) as refused:
        ChatCompletions(ServerOptions("http://10.1.2.3:8000/v1"))
    assert "ALL_PROXY" in str(refused.value)
    assert "\n" not in str(refused.value)

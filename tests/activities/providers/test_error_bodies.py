"""Errors of model servers in the forms that they send: the words and the class are kept."""

import json
from typing import Any

import pytest

from outlast.errors import ModelError, ModelFailure
from tests.activities.providers.raw_answers import Failed, chunk, event, outcome_of
from tests.activities.providers.raw_server import JSON, SSE, response

ERROR_BODIES = [
    # (status, body, content type, kind, words in the message)
    (
        422,
        {"detail": [{"loc": ["body", "stream_options"], "msg": "extra fields not permitted"}]},
        Failed.BAD_REQUEST,
        "body.stream_options: extra fields not permitted",
    ),
    (
        404,
        {"error": "model 'x' not found, try pulling it first"},
        Failed.UNKNOWN_MODEL,
        "try pulling it first",
    ),
    (401, {"detail": "Unauthorized: bad key"}, Failed.AUTHENTICATION, "Unauthorized: bad key"),
    (
        400,
        {"errors": [{"message": "This model's maximum context length is 10 tokens"}]},
        Failed.CONTEXT_OVERFLOW,
        "maximum context length",
    ),
    (400, {"errors": ["a", "b"]}, Failed.BAD_REQUEST, "a; b"),
    (
        400,
        {"object": "error", "message": "input is too long", "code": 40303},
        Failed.CONTEXT_OVERFLOW,
        "input is too long",
    ),
    (
        400,
        [{"error": {"code": 400, "message": "bad tool", "status": "INVALID_ARGUMENT"}}],
        Failed.BAD_REQUEST,
        "bad tool",
    ),
    (500, {"detail": {"error": {"message": "queue is full"}}}, Failed.OVERLOADED, "queue is full"),
    (
        503,
        "<html><head><title>503 Service Unavailable</title></head><body><h1>No server</h1></html>",
        Failed.OVERLOADED,
        "503 Service Unavailable: No server",
    ),
    (500, "upstream connect error", Failed.OVERLOADED, "upstream connect error"),
    (500, {"message": "Internal", "request_id": "7"}, Failed.SERVER_ERROR, "Internal"),
    (400, {"msg": "content filter triggered"}, Failed.REFUSAL, "content filter triggered"),
    (400, {"error": {"message": {"nested": 1}}}, Failed.BAD_REQUEST, "nested"),
    (
        400,
        {"error": {"code": "context_length_exceeded"}},
        Failed.CONTEXT_OVERFLOW,
        "context_length_exceeded",
    ),
    (
        400,
        {"errors": [{"code": "insufficient_quota", "detail": "no credit"}]},
        Failed.AUTHENTICATION,
        "no credit",
    ),
    (
        400,
        {"error": {"metadata": {"raw": "x"}, "message": "Provider returned error", "code": 429}},
        Failed.THROTTLED,
        "Provider returned error",
    ),
    (418, "", Failed.BAD_REQUEST, "418"),
    (400, '{"error":', Failed.BAD_REQUEST, "error"),
    (500, "\ud83d broken", Failed.SERVER_ERROR, "broken"),
    (400, {"error": None, "detail": None, "code": None}, Failed.BAD_REQUEST, "400"),
    (429, {"error": {"message": "slow down", "type": []}}, Failed.THROTTLED, "slow down"),
    (500, {"title": "Oops", "status": 503, "detail": "try later"}, Failed.OVERLOADED, "try later"),
    (400, {"error": "<b>bad</b> &amp; ugly"}, Failed.BAD_REQUEST, "bad & ugly"),
    (
        400,
        {"code": "json_validate_failed", "message": "Failed to validate JSON"},
        Failed.SCHEMA_INVALID,
        "Failed to validate JSON",
    ),
    (500, {"detail": ["x" * 10_000] * 50}, Failed.SERVER_ERROR, "xxx"),
]


@pytest.mark.parametrize(("status", "body", "kind", "words"), ERROR_BODIES)
async def test_an_error_body_keeps_its_words_and_its_class(
    status: int, body: Any, kind: ModelFailure, words: str
) -> None:
    is_json = not isinstance(body, str)
    text = json.dumps(body) if is_json else body
    raw = response(text, JSON if is_json else "text/html", status)

    error = await outcome_of(raw)

    assert isinstance(error, ModelError)
    assert (error.kind, words in error.message) == (kind, True), error.message


ERRORS_IN_200 = [
    (
        {"object": "error", "message": "The model `m` does not exist.", "code": 404},
        Failed.UNKNOWN_MODEL,
        "does not exist",
    ),
    (
        {"error": "This model's maximum context length is 10 tokens"},
        Failed.CONTEXT_OVERFLOW,
        "maximum context length",
    ),
    ({"error": {"message": "overloaded", "code": 529}}, Failed.OVERLOADED, "overloaded"),
    ({"error": {"code": 502}}, Failed.CONNECTION, "502"),
    ({"detail": "queue is full"}, Failed.OVERLOADED, "queue is full"),
    ({"message": "Rate limit reached"}, Failed.THROTTLED, "Rate limit reached"),
    ({"errors": [{"message": "bad gateway"}]}, Failed.CONNECTION, "bad gateway"),
    (
        {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}},
        Failed.OVERLOADED,
        "Overloaded",
    ),
    ([{"error": {"message": "no such model", "code": 404}}], Failed.UNKNOWN_MODEL, "no such model"),
    (
        {
            "choices": [
                {
                    "index": 0,
                    "error": {"code": 503, "message": "upstream overloaded"},
                    "finish_reason": "error",
                }
            ]
        },
        Failed.OVERLOADED,
        "upstream overloaded",
    ),
    ({"choices": [], "error": {"message": "timed out"}}, Failed.TIMEOUT, "timed out"),
    ({"choices": [{"error": "loading model"}]}, Failed.OVERLOADED, "loading model"),
    ({"status": "error", "message": "boom"}, Failed.SERVER_ERROR, "boom"),
    ({"error": True}, Failed.SERVER_ERROR, "true"),
    ({"error_msg": "content policy", "error_code": 336}, Failed.REFUSAL, "content policy"),
]


@pytest.mark.parametrize("form", ["single", "stream", "named event", "after text"])
@pytest.mark.parametrize(("body", "kind", "words"), ERRORS_IN_200)
async def test_an_error_in_an_answer_is_read_like_any_error(
    body: Any, kind: ModelFailure, words: str, form: str
) -> None:
    raw = {
        "single": response(json.dumps(body)),
        "stream": response(event(body), SSE),
        "named event": response("event: error\n" + event(body), SSE),
        "after text": response(chunk('{"answer":"') + event(body), SSE),
    }[form]

    error = await outcome_of(raw)

    assert isinstance(error, ModelError)
    assert (error.kind, words in error.message) == (kind, True), error.message

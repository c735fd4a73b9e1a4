"""Failures of hosted services in their own words: which class each one is, and what follows."""

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest
from outlast_activities.policies.recovery import RULES

from outlast.errors import ModelError, ModelFailure
from tests.activities.providers.test_hosted_apis import clerk, fakes, server_of
from tests.fakes.prompts import prompt_for
from tests.fakes.service import FakeService, Play

__all__ = ["fakes"]

Failure = ModelFailure


def anthropic_error(kind: str, message: str, **details: Any) -> Any:
    error = {"type": kind, "message": message, **({"details": details} if details else {})}
    return {"type": "error", "error": error, "request_id": "req_1"}


def failed(status: int, body: Any, headers: Mapping[str, str] | None = None) -> Play:
    return Play(error=(status, body, headers or {}))


ANTHROPIC = {
    "400": (
        failed(400, anthropic_error("invalid_request_error", "max_tokens: Field required")),
        Failure.BAD_REQUEST,
    ),
    "401": (
        failed(401, anthropic_error("authentication_error", "invalid x-api-key")),
        Failure.AUTHENTICATION,
    ),
    "402 no credit": (
        failed(402, anthropic_error("billing_error", "Your credit balance is too low")),
        Failure.AUTHENTICATION,
    ),
    "403": (
        failed(
            403, anthropic_error("permission_error", "Your API key has no access to this model")
        ),
        Failure.AUTHENTICATION,
    ),
    "404": (
        failed(404, anthropic_error("not_found_error", "model: claude-x")),
        Failure.UNKNOWN_MODEL,
    ),
    "413": (
        failed(413, anthropic_error("request_too_large", "Request exceeds the maximum size")),
        Failure.CONTEXT_OVERFLOW,
    ),
    "overflow": (
        failed(
            400,
            anthropic_error(
                "invalid_request_error", "prompt is too long: 1000200 tokens > 1000000 maximum"
            ),
        ),
        Failure.CONTEXT_OVERFLOW,
    ),
    "429": (
        failed(
            429,
            anthropic_error("rate_limit_error", "This request would exceed your rate limit"),
            {"retry-after": "17"},
        ),
        Failure.THROTTLED,
    ),
    "500": (
        failed(500, anthropic_error("api_error", "Internal server error")),
        Failure.SERVER_ERROR,
    ),
    "504": (failed(504, anthropic_error("timeout_error", "Request timed out")), Failure.TIMEOUT),
    "529": (failed(529, anthropic_error("overloaded_error", "Overloaded")), Failure.OVERLOADED),
    "overloaded in the stream": (
        Play(stream_error={"type": "overloaded_error", "message": "Overloaded"}),
        Failure.OVERLOADED,
    ),
    "cut stream": (Play(answer="a long enough answer", cut=True), Failure.CONNECTION),
    "refusal": (Play(refusal="cyber"), Failure.REFUSAL),
    "end of the context": (
        Play(answer="x", finish="model_context_window_exceeded"),
        Failure.CONTEXT_OVERFLOW,
    ),
}


def openai_error(message: str, code: str | None, kind: str = "invalid_request_error") -> Any:
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


OPENAI = {
    "400": (
        failed(400, openai_error("Unknown parameter: 'x'.", "unknown_parameter")),
        Failure.BAD_REQUEST,
    ),
    "400 schema": (
        failed(400, openai_error("Invalid schema for response_format", "invalid_json_schema")),
        Failure.BAD_REQUEST,
    ),
    "401": (
        failed(401, openai_error("Incorrect API key provided", "invalid_api_key")),
        Failure.AUTHENTICATION,
    ),
    "404": (
        failed(404, openai_error("The model 'x' does not exist", "model_not_found")),
        Failure.UNKNOWN_MODEL,
    ),
    "overflow": (
        failed(
            400,
            openai_error(
                "Your input exceeds the context window of this model.", "context_length_exceeded"
            ),
        ),
        Failure.CONTEXT_OVERFLOW,
    ),
    "429": (
        failed(
            429,
            openai_error("Rate limit reached for gpt-6-sol", "rate_limit_exceeded", "tokens"),
            {"retry-after": "17"},
        ),
        Failure.THROTTLED,
    ),
    "429 no quota": (
        failed(
            429,
            openai_error(
                "You exceeded your current quota", "insufficient_quota", "insufficient_quota"
            ),
        ),
        Failure.AUTHENTICATION,
    ),
    "429 spend limit": (
        failed(429, openai_error("Spend limit reached", "organization_spend_limit_exceeded")),
        Failure.AUTHENTICATION,
    ),
    "500": (
        failed(500, openai_error("The server had an error", "server_error", "server_error")),
        Failure.SERVER_ERROR,
    ),
    "503": (
        failed(
            503, openai_error("Overloaded", "server_is_overloaded", "service_unavailable_error")
        ),
        Failure.OVERLOADED,
    ),
    "content filter (Azure)": (
        failed(400, openai_error("The response was filtered", "content_filter")),
        Failure.REFUSAL,
    ),
    "rate limit in the stream": (
        Play(stream_error={"code": "rate_limit_exceeded", "message": "Rate limit reached"}),
        Failure.THROTTLED,
    ),
    "policy in the stream": (
        Play(stream_error={"code": "bio_policy", "message": "Blocked by policy"}),
        Failure.REFUSAL,
    ),
    "cut stream": (Play(answer="a long enough answer", cut=True), Failure.CONNECTION),
    "refusal": (Play(refusal="I cannot help with that."), Failure.REFUSAL),
    "incomplete: content filter": (Play(answer="x", finish="content_filter"), Failure.REFUSAL),
}


def google_error(code: int, status: str, message: str, *details: Any) -> Any:
    return {"error": {"code": code, "status": status, "message": message, "details": list(details)}}


RETRY_INFO = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "17s"}
GEMINI = {
    "400": (
        failed(400, google_error(400, "INVALID_ARGUMENT", "Invalid JSON payload received.")),
        Failure.BAD_REQUEST,
    ),
    "400 key": (
        failed(
            400,
            google_error(
                400, "INVALID_ARGUMENT", "API key not valid.", {"reason": "API_KEY_INVALID"}
            ),
        ),
        Failure.AUTHENTICATION,
    ),
    "403": (
        failed(403, google_error(403, "PERMISSION_DENIED", "The caller does not have permission")),
        Failure.AUTHENTICATION,
    ),
    "404": (
        failed(404, google_error(404, "NOT_FOUND", "models/x is not found for API version v1beta")),
        Failure.UNKNOWN_MODEL,
    ),
    "overflow": (
        failed(
            400,
            google_error(
                400,
                "INVALID_ARGUMENT",
                "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
            ),
        ),
        Failure.CONTEXT_OVERFLOW,
    ),
    "429": (
        failed(429, google_error(429, "RESOURCE_EXHAUSTED", "Quota exceeded", RETRY_INFO)),
        Failure.THROTTLED,
    ),
    "500": (failed(500, google_error(500, "INTERNAL", "An internal error")), Failure.SERVER_ERROR),
    "503": (
        failed(503, google_error(503, "UNAVAILABLE", "The model is overloaded.")),
        Failure.OVERLOADED,
    ),
    "504": (
        failed(504, google_error(504, "DEADLINE_EXCEEDED", "Deadline expired")),
        Failure.TIMEOUT,
    ),
    "overloaded in the stream": (
        Play(stream_error={"code": 503, "status": "UNAVAILABLE", "message": "Overloaded"}),
        Failure.OVERLOADED,
    ),
    "cut stream": (Play(answer="a long enough answer", cut=True), Failure.CONNECTION),
    "blocked prompt": (Play(refusal="PROHIBITED_CONTENT"), Failure.REFUSAL),
    "safety": (Play(answer="x", finish="SAFETY"), Failure.REFUSAL),
    "recitation": (Play(answer="x", finish="RECITATION"), Failure.REFUSAL),
    "malformed call": (Play(answer="x", finish="MALFORMED_FUNCTION_CALL"), Failure.SCHEMA_INVALID),
}

CASES = {
    "openai-responses": ("gpt-6-sol", OPENAI),
    "gemini": ("gemini-3.5-flash", GEMINI),
    "anthropic": ("claude-opus-5-5", ANTHROPIC),
}
ALL = [(api, case) for api, (_, cases) in CASES.items() for case in cases]


@pytest.mark.parametrize(("api", "case"), ALL, ids=str)
async def test_a_failure_has_its_class(
    fakes: dict[str, FakeService],
    api: str,
    case: str,
) -> None:
    fake = fakes[api]
    model, cases = CASES[api]
    play, kind = cases[case]
    fake.refusals.clear()
    fake.play(play)
    server = await server_of(api, model, fake)
    with pytest.raises(ModelError) as raised:
        await server.complete(prompt_for(clerk, "native"))
    assert fake.refusals == []
    assert raised.value.kind is kind
    assert "\n" not in str(raised.value)
    assert fake.key not in str(raised.value)
    waits = case == "429" and RULES[kind].retryable
    assert raised.value.retry_after == (timedelta(seconds=17) if waits else None)
    if play.cut or play.stream_error or (play.refusal and api != "gemini"):
        assert raised.value.tokens["completion_tokens"] > 0


def test_the_table_of_failures(capsys: pytest.CaptureFixture[str]) -> None:
    """Prints what docs/models.md shows."""
    rows = [
        (api, case, kind.value, _action(kind))
        for api, (_, cases) in CASES.items()
        for case, (_, kind) in cases.items()
    ]
    with capsys.disabled():
        for row in rows:
            print(json.dumps(row))
    assert len(rows) == len(ALL)


def _action(kind: ModelFailure) -> str:
    rule = RULES[kind]
    if rule.remedies:
        return f"another prompt: {', '.join(rule.remedies)}"
    if rule.retryable:
        return "retry, then the next leg"
    return "the next leg" if rule.tries_next_leg else "the run fails"

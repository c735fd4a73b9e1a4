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

CASES = {"anthropic": ("claude-opus-5-5", ANTHROPIC)}
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
    async with server_of(api, model, fake) as server:
        with pytest.raises(ModelError) as raised:
            await server.complete(prompt_for(clerk, "native"))
    assert fake.refusals == []
    assert raised.value.kind is kind
    assert "\n" not in str(raised.value)
    assert fake.key not in str(raised.value)
    waits = case == "429" and RULES[kind].retryable
    assert raised.value.retry_after == (timedelta(seconds=17) if waits else None)
    if play.cut or play.refusal or play.stream_error:
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

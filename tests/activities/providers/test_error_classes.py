from datetime import UTC, datetime, timedelta

import pytest
from outlast_activities.providers.error_classes import (
    MAX_RETRY_AFTER,
    failure_of_answer,
    retry_after,
)

from outlast.errors import ModelFailure as Failed

NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("header", "wait"),
    [
        ("", None),
        ("5", timedelta(seconds=5)),
        (" 0.5 ", timedelta(seconds=0.5)),
        ("-3", timedelta(0)),
        ("86400", MAX_RETRY_AFTER),
        ("inf", MAX_RETRY_AFTER),
        ("1e400", MAX_RETRY_AFTER),
        ("1e15", MAX_RETRY_AFTER),
        ("nan", None),
        ("soon", None),
        ("Tue, 24 Nov 2026 12:00:30 GMT", timedelta(seconds=30)),
        ("Tue, 24 Nov 2026 11:00:00 GMT", timedelta(0)),
        ("Tue, 24 Nov 2099 12:00:00 GMT", MAX_RETRY_AFTER),
        ("Tue, 99 Nov 2026 12:00:00 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_a_date_and_bounded(header: str, wait: timedelta | None) -> None:
    assert retry_after({"retry-after": header}, NOON) == wait


def test_without_a_header_there_is_no_wait() -> None:
    assert retry_after({}, NOON) is None


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "6m0s"}, 300),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "1.2s"}, 1.2),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "85ms"}, 0.085),
        ({"x-ratelimit-remaining-tokens": "90", "x-ratelimit-reset-tokens": "85ms"}, None),
        (
            {
                "x-ratelimit-remaining-requests": "0",
                "x-ratelimit-reset-requests": "2s",
                "x-ratelimit-remaining-tokens": "0",
                "x-ratelimit-reset-tokens": "8s",
            },
            8,
        ),
        (
            {
                "anthropic-ratelimit-requests-remaining": "0",
                "anthropic-ratelimit-requests-reset": "2026-11-24T12:00:09Z",
            },
            9,
        ),
        ({"retry-after": "3", "x-ratelimit-remaining-requests": "0"}, 3),
    ],
)
def test_the_reset_of_a_budget_that_is_used_up_is_waited_for(
    headers: dict[str, str], wait_s: float | None
) -> None:
    assert retry_after(headers, NOON) == (None if wait_s is None else timedelta(seconds=wait_s))


OVERFLOW_VLLM = (
    "This model's maximum context length is 4096 tokens. However, you requested 512 output tokens and "
    "your prompt contains at least 3585 input tokens, for a total of at least 4097 tokens. Please "
    "reduce the length of the input prompt or the number of requested output tokens."
)
OVERFLOW_LLAMA = (
    "request (9000 tokens) exceeds the available context size (8192 tokens), try increasing it"
)
NGINX = "<html><head><title>502 Bad Gateway</title></head><body>nginx/1.27</body></html>"
ENVOY = (
    "upstream connect error or disconnect/reset before headers. reset reason: connection timeout"
)


@pytest.mark.parametrize(
    ("status", "body", "message", "failure"),
    [
        # vLLM
        (400, {"type": "BadRequestError", "code": 400}, OVERFLOW_VLLM, Failed.CONTEXT_OVERFLOW),
        (
            404,
            {"type": "NotFoundError", "code": 404},
            "The model `x` does not exist.",
            Failed.UNKNOWN_MODEL,
        ),
        (
            400,
            {"type": "BadRequestError", "code": 400},
            "The provided JSON schema contains features not supported by xgrammar.",
            Failed.BAD_REQUEST,
        ),
        (
            500,
            {"type": "InternalServerError", "code": 500},
            "EngineCore encountered an issue. See stack trace (above) for the root cause.",
            Failed.SERVER_ERROR,
        ),
        (401, {}, "Unauthorized", Failed.AUTHENTICATION),
        # llama.cpp
        (
            400,
            {"code": 400, "type": "exceed_context_size_error", "n_ctx": 8192},
            OVERFLOW_LLAMA,
            Failed.CONTEXT_OVERFLOW,
        ),
        (503, {"code": 503, "type": "unavailable_error"}, "Loading model", Failed.OVERLOADED),
        (
            401,
            {"code": 401, "type": "authentication_error"},
            "Invalid API Key",
            Failed.AUTHENTICATION,
        ),
        # hosted services
        (
            400,
            {"code": "context_length_exceeded", "type": "invalid_request_error"},
            "too long",
            Failed.CONTEXT_OVERFLOW,
        ),
        (
            429,
            {"code": "rate_limit_exceeded", "type": "requests"},
            "Rate limit reached for gpt-x in organization o on requests per min. Limit: 3 / min.",
            Failed.THROTTLED,
        ),
        (
            429,
            {"code": "insufficient_quota", "type": "insufficient_quota"},
            "You exceeded your current quota, please check your plan and billing details.",
            Failed.AUTHENTICATION,
        ),
        (401, {"code": "invalid_api_key"}, "Incorrect API key provided", Failed.AUTHENTICATION),
        (404, {"code": "model_not_found"}, "The model `y` does not exist", Failed.UNKNOWN_MODEL),
        (
            400,
            {"code": "content_filter"},
            "The response was filtered due to the prompt triggering the content management policy",
            Failed.REFUSAL,
        ),
        (
            400,
            None,
            "Your request was rejected as a result of our safety system.",
            Failed.REFUSAL,
        ),
        (529, {"type": "overloaded_error"}, "Overloaded", Failed.OVERLOADED),
        (
            413,
            {"type": "request_too_large"},
            "Request exceeds the maximum size",
            Failed.CONTEXT_OVERFLOW,
        ),
        (422, {}, "Extra inputs are not permitted", Failed.BAD_REQUEST),
        (402, {}, "Payment required", Failed.AUTHENTICATION),
        # gateways that wrap what a server said
        (
            500,
            {"code": "429", "type": None},
            "litellm.RateLimitError: AzureException RateLimitError - Retry after 8 seconds",
            Failed.THROTTLED,
        ),
        (
            500,
            None,
            "litellm.ServiceUnavailableError: VertexAIException - 503 the service is unavailable",
            Failed.OVERLOADED,
        ),
        (
            500,
            None,
            "Error code: 429 - {'error': {'message': 'Too Many Requests'}}",
            Failed.THROTTLED,
        ),
        (
            400,
            {"code": 503},
            "no available workers (all circuits open or unhealthy)",
            Failed.OVERLOADED,
        ),
        (
            400,
            {"code": "400"},
            "litellm.BadRequestError: property 'x' is required",
            Failed.BAD_REQUEST,
        ),
        (502, None, NGINX, Failed.CONNECTION),
        (503, None, ENVOY, Failed.OVERLOADED),
        (
            504,
            None,
            "<html><head><title>504 Gateway Time-out</title></head></html>",
            Failed.TIMEOUT,
        ),
        (524, None, "error code: 524", Failed.TIMEOUT),
        (408, None, "stream timeout", Failed.TIMEOUT),
        (409, {}, "conflict", Failed.OVERLOADED),
        # in mid-stream, where the status was 200
        (200, {"code": 500, "type": "InternalServerError"}, "boom", Failed.SERVER_ERROR),
        (200, {"code": 503}, "Service Unavailable", Failed.OVERLOADED),
        (200, {"code": 429}, "slow down", Failed.THROTTLED),
        (200, {"message": "overloaded"}, "overloaded", Failed.OVERLOADED),
        (200, None, "something else", Failed.SERVER_ERROR),
    ],
)
def test_an_error_answer_has_its_class_by_code_status_or_words(
    status: int, body: object, message: str, failure: Failed
) -> None:
    assert failure_of_answer(status, body, message) is failure


def test_an_error_page_of_any_length_is_read_in_no_time() -> None:
    assert failure_of_answer(500, None, "model " * 2_000_000) is Failed.SERVER_ERROR

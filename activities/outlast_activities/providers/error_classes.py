"""Classes of failure by the HTTP status, body and headers of an error answer, for any model server.

The phrases are those of vLLM 0.32 (`entrypoints`), llama.cpp's server, OpenAI's error codes, and the
gateways between (LiteLLM, Envoy, nginx), which wrap a server's failure in a status of their own.
"""

import email.utils
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from outlast.errors import ModelFailure
from outlast_activities.providers.error_bodies import mappings_in

MAX_RETRY_AFTER = timedelta(minutes=5)
"""The longest wait before a retry, even if a server asks for more. Attempts are limited anyway."""

MAX_MESSAGE = 300
"""Bytes of a server's error message in ours."""

MAX_SEARCHED = 4_000
"""Characters of a message that are searched for phrases. An error page can be of any length."""

_CODES = {
    "context_length_exceeded": ModelFailure.CONTEXT_OVERFLOW,
    "exceed_context_size_error": ModelFailure.CONTEXT_OVERFLOW,
    "content_filter": ModelFailure.REFUSAL,
    "content_policy_violation": ModelFailure.REFUSAL,
    "model_context_window_exceeded": ModelFailure.CONTEXT_OVERFLOW,
    "request_too_large": ModelFailure.CONTEXT_OVERFLOW,
    "string_above_max_length": ModelFailure.CONTEXT_OVERFLOW,
    "invalid_prompt": ModelFailure.REFUSAL,
    "bio_policy": ModelFailure.REFUSAL,
    "misalignment_policy_violation": ModelFailure.REFUSAL,
    "insufficient_quota": ModelFailure.AUTHENTICATION,
    "credit_balance_exhausted": ModelFailure.AUTHENTICATION,
    "organization_spend_limit_exceeded": ModelFailure.AUTHENTICATION,
    "project_spend_limit_exceeded": ModelFailure.AUTHENTICATION,
    "organization_usage_limit_exceeded": ModelFailure.AUTHENTICATION,
    "exceeded_current_quota_error": ModelFailure.AUTHENTICATION,
    "billing_error": ModelFailure.AUTHENTICATION,
    "billing_hard_limit_reached": ModelFailure.AUTHENTICATION,
    "invalid_api_key": ModelFailure.AUTHENTICATION,
    "api_key_invalid": ModelFailure.AUTHENTICATION,  # Google's ErrorInfo.reason
    "authentication_error": ModelFailure.AUTHENTICATION,
    "permission_error": ModelFailure.AUTHENTICATION,
    "model_not_found": ModelFailure.UNKNOWN_MODEL,
    "not_found_error": ModelFailure.UNKNOWN_MODEL,
    "rate_limit_exceeded": ModelFailure.THROTTLED,
    "too_many_requests": ModelFailure.THROTTLED,
    "rate_limit_error": ModelFailure.THROTTLED,
    "throttling_error": ModelFailure.THROTTLED,
    "overloaded_error": ModelFailure.OVERLOADED,
    "server_is_overloaded": ModelFailure.OVERLOADED,
    "timeout_error": ModelFailure.TIMEOUT,
    "invalid_json_schema": ModelFailure.BAD_REQUEST,
    "unavailable_error": ModelFailure.OVERLOADED,
    "server_overloaded": ModelFailure.OVERLOADED,
    # Groq validates answers itself: the model wrote an invalid one.
    "json_validate_failed": ModelFailure.SCHEMA_INVALID,
    "tool_use_failed": ModelFailure.SCHEMA_INVALID,
}
"""Values of `code`, `type` and `reason` in an error. They take precedence over the status."""

_PHRASES: tuple[tuple[re.Pattern[str], ModelFailure], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), failure)
    for pattern, failure in (
        (
            r"maximum context length|context[ _](length|size|window)|max_model_len|too many tokens",
            ModelFailure.CONTEXT_OVERFLOW,
        ),
        (
            r"(prompt|input) is too long|longer than the maximum model length",
            ModelFailure.CONTEXT_OVERFLOW,
        ),
        (
            r"input token count.{0,40}exceeds the maximum|reduce the length of the (messages|input)",
            ModelFailure.CONTEXT_OVERFLOW,
        ),
        (r"content (management )?policy|content filter|safety system", ModelFailure.REFUSAL),
        (r"rate[ _-]?limit|too many requests|RateLimitError|\b429\b", ModelFailure.THROTTLED),
        (
            r"overloaded|no healthy upstream|upstream connect error|no available (worker|server)s?",
            ModelFailure.OVERLOADED,
        ),
        (
            r"queue is full|loading model|over capacity|service ?unavailable|\b(503|529)\b",
            ModelFailure.OVERLOADED,
        ),
        (
            r"model .{1,200} (does not|doesn't) exist|model .{1,200} not found|no such model",
            ModelFailure.UNKNOWN_MODEL,
        ),
        (r"gateway time-?out|upstream request timeout|timed out", ModelFailure.TIMEOUT),
        (r"bad gateway|connection (refused|reset|error)", ModelFailure.CONNECTION),
    )
)
"""Phrases in messages, for answers whose code and status are unknown. The first match wins."""

_STATUS = {
    401: ModelFailure.AUTHENTICATION,
    402: ModelFailure.AUTHENTICATION,
    403: ModelFailure.AUTHENTICATION,
    404: ModelFailure.UNKNOWN_MODEL,
    408: ModelFailure.TIMEOUT,
    409: ModelFailure.OVERLOADED,
    413: ModelFailure.CONTEXT_OVERFLOW,
    425: ModelFailure.OVERLOADED,
    429: ModelFailure.THROTTLED,
    499: ModelFailure.CONNECTION,
    502: ModelFailure.CONNECTION,
    503: ModelFailure.OVERLOADED,
    504: ModelFailure.TIMEOUT,
    521: ModelFailure.CONNECTION,
    522: ModelFailure.CONNECTION,
    523: ModelFailure.CONNECTION,
    524: ModelFailure.TIMEOUT,
    529: ModelFailure.OVERLOADED,
}

_SPECIFIC = frozenset((ModelFailure.CONTEXT_OVERFLOW, ModelFailure.REFUSAL))
"""Failures that a message decides even with a status of its own: they come with status 400."""


def failure_of_answer(status: int, body: object, message: str) -> ModelFailure:
    """Return the class of failure of an error answer. `body` is its body, or the `error` in it.

    The code in the body takes precedence over the status, which may be a gateway's. A 500 that wraps a 429
    is a 429, and so is a stream that began with 200.
    """
    nodes = list(mappings_in(body))
    for node in nodes:
        for key in ("code", "type", "reason"):
            named = _CODES.get(str(node.get(key)).lower())
            if named is not None:
                return named
    by_phrase = _failure_by_phrase(message)
    if by_phrase is not None and by_phrase in _SPECIFIC:
        return by_phrase
    wrapped = next(filter(None, map(_wrapped_status, nodes)), None)
    if wrapped is not None and (status < 400 or status >= 500 or status == 400):
        status = wrapped
    if status in _STATUS:
        return _STATUS[status]
    if by_phrase is not None and (status >= 500 or status < 400):
        return by_phrase
    return ModelFailure.BAD_REQUEST if 400 <= status < 500 else ModelFailure.SERVER_ERROR


def _failure_by_phrase(message: str) -> ModelFailure | None:
    text = message[:MAX_SEARCHED]
    return next((failure for phrase, failure in _PHRASES if phrase.search(text)), None)


def _wrapped_status(body: Mapping[str, Any]) -> int | None:
    for key in ("code", "status", "status_code"):
        value = body.get(key)
        if isinstance(value, int | str) and re.fullmatch(r"[45][0-9][0-9]", str(value)[:4]):
            return int(value)
    return None


def retry_after(headers: Mapping[str, str], now: datetime | None = None) -> timedelta | None:
    """Return the wait that a server asks for in its headers, or None.

    Read in this order: `retry-after-ms`; `Retry-After` in seconds or as a date (RFC 9110); the reset of
    rate limits with nothing left: `x-ratelimit-reset-…` (OpenAI: `1s`, `6m0s`), `…-ratelimit-…-reset`
    (Anthropic: a date).
    """
    now = now or datetime.now(UTC)
    milliseconds = _wait(headers.get("retry-after-ms", ""), now)
    if milliseconds is not None:
        return _bounded(milliseconds / 1000)
    wait = _wait(headers.get("retry-after", ""), now)
    if wait is None:
        waits = [_wait(headers[name], now) for name in _reset_headers(headers)]
        wait = max((wait for wait in waits if wait is not None), default=None)
    return None if wait is None else _bounded(wait)


def retry_info(body: object) -> timedelta | None:
    """Return the wait that a server asks for in its body, or None: Google's `RetryInfo.retryDelay`."""
    now = datetime.now(UTC)
    for node in mappings_in(body):
        wait = _wait(str(node.get("retryDelay") or ""), now)
        if wait is not None:
            return _bounded(wait)
    return None


def _reset_headers(headers: Mapping[str, str]) -> list[str]:
    """Return the names of the reset headers of all rate limits with nothing left."""
    used_up = [name for name, value in headers.items() if "remaining" in name and value == "0"]
    resets = [name.replace("remaining", "reset") for name in used_up]
    return [name for name in resets if name in headers]


MAX_WAIT_CHARACTERS = 64
"""Characters of a wait in a header. Longer numbers count as the longest wait."""

_DIGITS = re.compile(r"[0-9]{10}")
_SPAN = re.compile(r"(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?")


def _wait(value: str, now: datetime) -> timedelta | None:
    """Return a wait that is written as seconds, as a duration, or as the time of its end."""
    value = value.strip()
    if not value or len(value) > MAX_WAIT_CHARACTERS:
        return MAX_RETRY_AFTER if _DIGITS.match(value) else None
    try:
        return timedelta(seconds=float(value))
    except OverflowError:
        return MAX_RETRY_AFTER
    except ValueError:
        pass
    span = _SPAN.fullmatch(value)
    if span is not None:
        hours, minutes, seconds, milliseconds = (float(part or 0) for part in span.groups())
        try:
            return timedelta(
                hours=hours, minutes=minutes, seconds=seconds, milliseconds=milliseconds
            )
        except OverflowError:
            return MAX_RETRY_AFTER
    return _until(value, now)


def _until(value: str, now: datetime) -> timedelta | None:
    for parse in (email.utils.parsedate_to_datetime, datetime.fromisoformat):
        try:
            return parse(value) - now
        except (TypeError, ValueError, OverflowError, LookupError):
            continue
    return None


def _bounded(wait: timedelta) -> timedelta:
    return min(max(wait, timedelta(0)), MAX_RETRY_AFTER)

"""Failures of model servers: what a status, a body or an exception means, decided once.

The phrases are those of vLLM 0.32 (`entrypoints`), llama.cpp's server, OpenAI's error codes, and the
gateways between (LiteLLM, Envoy, nginx), which wrap a server's failure in a status of their own.
"""

import email.utils
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import openai

from outlast.errors import ModelError, ModelFailure

MAX_RETRY_AFTER = timedelta(minutes=5)
"""A server that asks for a longer wait is asked again all the same: the attempts are bounded."""

MAX_SHOWN = 300

MAX_READ = 4_000
"""Characters of a message that are searched for phrases: an error page can be of any length."""

_CODES = {
    "context_length_exceeded": ModelFailure.CONTEXT_OVERFLOW,
    "exceed_context_size_error": ModelFailure.CONTEXT_OVERFLOW,
    "content_filter": ModelFailure.REFUSAL,
    "content_policy_violation": ModelFailure.REFUSAL,
    "insufficient_quota": ModelFailure.AUTHENTICATION,
    "billing_hard_limit_reached": ModelFailure.AUTHENTICATION,
    "invalid_api_key": ModelFailure.AUTHENTICATION,
    "authentication_error": ModelFailure.AUTHENTICATION,
    "permission_error": ModelFailure.AUTHENTICATION,
    "model_not_found": ModelFailure.UNKNOWN_MODEL,
    "rate_limit_exceeded": ModelFailure.THROTTLED,
    "rate_limit_error": ModelFailure.THROTTLED,
    "throttling_error": ModelFailure.THROTTLED,
    "overloaded_error": ModelFailure.OVERLOADED,
    "unavailable_error": ModelFailure.OVERLOADED,
    "server_overloaded": ModelFailure.OVERLOADED,
}
"""Values of `error.code` and `error.type` that say what happened whatever the status is."""

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
        (r"content (management )?policy|content filter|safety system", ModelFailure.REFUSAL),
        (r"rate[ _-]?limit|too many requests|RateLimitError|\b429\b", ModelFailure.THROTTLED),
        (
            r"overloaded|no healthy upstream|upstream connect error|no available (worker|server)s?",
            ModelFailure.OVERLOADED,
        ),
        (
            r"queue is full|loading model|service ?unavailable|\b(503|529)\b",
            ModelFailure.OVERLOADED,
        ),
        (r"model .{1,200} (does not|doesn't) exist|no such model", ModelFailure.UNKNOWN_MODEL),
        (r"gateway time-?out|upstream request timeout|timed out", ModelFailure.TIMEOUT),
        (r"bad gateway|connection (refused|reset|error)", ModelFailure.CONNECTION),
    )
)
"""What messages say, where neither a code nor the status does; the first that is found holds."""

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
"""What a message may say of any status of a request's own: a 400 is what they come with."""

_ADVICE = {
    ModelFailure.AUTHENTICATION: "check the server's api_key (OUTLAST_MODEL__API_KEY) and its account",
    ModelFailure.UNKNOWN_MODEL: "check the server's url, which ends in /v1, and the model's name",
}


def failure_of_answer(status: int, body: object, message: str) -> ModelFailure:
    """Return what an error answer means; `body` is its `error` object, if it has one.

    The body's own code goes before the status, which may be a gateway's: a 500 that wraps a 429 is a
    429, and so is a stream that began with 200.
    """
    inner = body if isinstance(body, Mapping) else {}
    for key in ("code", "type"):
        named = _CODES.get(str(inner.get(key)).lower())
        if named is not None:
            return named
    said = _said(message)
    if said is not None and said in _SPECIFIC:
        return said
    wrapped = _wrapped_status(inner)
    if wrapped is not None and (status < 400 or status >= 500 or status == 400):
        status = wrapped
    if status in _STATUS:
        return _STATUS[status]
    if said is not None and (status >= 500 or status < 400):
        return said
    return ModelFailure.BAD_REQUEST if 400 <= status < 500 else ModelFailure.SERVER_ERROR


def _said(message: str) -> ModelFailure | None:
    shown = message[:MAX_READ]
    return next((failure for phrase, failure in _PHRASES if phrase.search(shown)), None)


def _wrapped_status(body: Mapping[str, Any]) -> int | None:
    for key in ("code", "status", "status_code"):
        value = body.get(key)
        if isinstance(value, int | str) and re.fullmatch(r"[45]\d\d", str(value)):
            return int(value)
    return None


def classified(error: Exception, *, url: str, model: str | None) -> ModelError:
    """Return an exception of the client as a run sees it."""
    at = f"the model server at {url}"
    if isinstance(error, openai.APITimeoutError):
        return ModelError(f"{at} did not answer in time", kind=ModelFailure.TIMEOUT)
    if isinstance(error, openai.APIConnectionError):
        cause = _line(str(error.__cause__ or error))
        return ModelError(f"{at} cannot be reached: {cause}", kind=ModelFailure.CONNECTION)
    if isinstance(error, openai.APIError):
        return _of_answer(error, at, model)
    failure = ModelFailure.SERVER_ERROR
    if isinstance(error, json.JSONDecodeError | UnicodeDecodeError):
        return ModelError(f"{at} sent what is not JSON: {_line(str(error))}", kind=failure)
    return ModelError(f"{at}: {_line(str(error) or type(error).__name__)}", kind=failure)


def _of_answer(error: openai.APIError, at: str, model: str | None) -> ModelError:
    answered = isinstance(error, openai.APIStatusError)
    status = error.status_code if isinstance(error, openai.APIStatusError) else 200
    headers = error.response.headers if isinstance(error, openai.APIStatusError) else {}
    failure = failure_of_answer(status, error.body, error.message)
    asked = f" for model {model!r}" if model else ""
    how = f"answered {status}" if answered else "broke off its answer"
    advice = f"; {_ADVICE[failure]}" if failure in _ADVICE else ""
    return ModelError(
        f"{at} {how}{asked}: {_line(error.message)}{advice}",
        kind=failure,
        retry_after=told_wait(headers),
    )


def told_wait(headers: Mapping[str, str], now: datetime | None = None) -> timedelta | None:
    """Return how long a server asks to be left alone, None where it does not say.

    `retry-after-ms`, then `Retry-After` in seconds or as a date (RFC 9110), then the reset of those
    budgets that are used up: `x-ratelimit-reset-…` (OpenAI: `1s`, `6m0s`), `…-ratelimit-…-reset`
    (Anthropic: a date).
    """
    now = now or datetime.now(UTC)
    milliseconds = _wait(headers.get("retry-after-ms", ""), now)
    if milliseconds is not None:
        return _bounded(milliseconds / 1000)
    wait = _wait(headers.get("retry-after", ""), now)
    if wait is None:
        waits = [_wait(headers[name], now) for name in _resets_of_spent(headers)]
        wait = max((one for one in waits if one is not None), default=None)
    return None if wait is None else _bounded(wait)


def _resets_of_spent(headers: Mapping[str, str]) -> list[str]:
    """Return the names of the headers that say when a budget with nothing left is full again."""
    spent = [name for name, value in headers.items() if "remaining" in name and value == "0"]
    resets = [name.replace("remaining", "reset") for name in spent]
    return [name for name in resets if name in headers]


_SPAN = re.compile(r"(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?")


def _wait(value: str, now: datetime) -> timedelta | None:
    """Return a wait that is written as seconds, as a span, or as the time of its end."""
    value = value.strip()
    if not value:
        return None
    try:
        return timedelta(seconds=float(value))
    except OverflowError:
        return MAX_RETRY_AFTER
    except ValueError:
        pass
    span = _SPAN.fullmatch(value)
    if span is not None:
        hours, minutes, seconds, milliseconds = (float(part or 0) for part in span.groups())
        return timedelta(hours=hours, minutes=minutes, seconds=seconds, milliseconds=milliseconds)
    return _until(value, now)


def _until(value: str, now: datetime) -> timedelta | None:
    for parse in (email.utils.parsedate_to_datetime, datetime.fromisoformat):
        try:
            return parse(value) - now
        except (TypeError, ValueError, OverflowError):
            continue
    return None


def _bounded(wait: timedelta) -> timedelta:
    return min(max(wait, timedelta(0)), MAX_RETRY_AFTER)


def _line(text: str) -> str:
    line = " ".join(text[: 4 * MAX_SHOWN].split())
    return line if len(line) <= MAX_SHOWN else f"{line[: MAX_SHOWN - 1]}…"

"""Failures of model servers: decided once whether another attempt is worth it, and when."""

import email.utils
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import openai

from outlast.errors import ModelError

RETRYABLE_STATUS = (408, 409, 425, 429)
"""Answers below 500 that another attempt may change."""

MAX_RETRY_AFTER = timedelta(minutes=5)
"""A server that asks for a longer wait is asked again all the same: the attempts are bounded."""

MAX_SHOWN = 300


def classified(error: Exception, *, url: str, model: str | None, stale: bool = False) -> ModelError:
    """Return the error as a run sees it: retryable, after a wait where the server names one, or final.

    `stale` says that the model's name was the server's own, from before: it may have another by now.
    """
    if isinstance(error, openai.APITimeoutError):
        return ModelError(f"the model server at {url} did not answer in time", retryable=True)
    if isinstance(error, openai.APIConnectionError):
        cause = _line(str(error.__cause__ or error))
        return ModelError(f"the model server at {url} cannot be reached: {cause}", retryable=True)
    if isinstance(error, openai.APIStatusError):
        return _of_status(error, url=url, model=model, stale=stale)
    return ModelError(f"the model server at {url}: {_line(str(error))}", retryable=True)


def _of_status(
    error: openai.APIStatusError, *, url: str, model: str | None, stale: bool
) -> ModelError:
    status = error.status_code
    asked = f" for model {model!r}" if model else ""
    said = f"the model server at {url} answered {status}{asked}: {_line(error.message)}"
    if status >= 500 or status in RETRYABLE_STATUS:
        return ModelError(said, retryable=True, retry_after=retry_after(error.response.headers))
    if stale and status == 404:
        return ModelError(said, retryable=True)
    if status in (401, 403):
        return ModelError(f"{said}; check model.api_key (OUTLAST_MODEL__API_KEY)")
    if status == 404:
        return ModelError(f"{said}; check model.url, which ends in /v1, and model.name")
    return ModelError(said)


def retry_after(headers: Mapping[str, str], now: datetime | None = None) -> timedelta | None:
    """Return the wait that a `Retry-After` header asks for, in seconds or as a date (RFC 9110)."""
    value = headers.get("retry-after", "").strip()
    if not value:
        return None
    try:
        wait = timedelta(seconds=float(value))
    except OverflowError:
        wait = MAX_RETRY_AFTER
    except ValueError:
        try:
            wait = email.utils.parsedate_to_datetime(value) - (now or datetime.now(UTC))
        except (TypeError, ValueError, OverflowError):
            return None
    return min(max(wait, timedelta(0)), MAX_RETRY_AFTER)


def _line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= MAX_SHOWN else f"{line[: MAX_SHOWN - 1]}…"

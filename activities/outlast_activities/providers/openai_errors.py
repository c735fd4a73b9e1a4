"""Errors of the `openai` client library as `ModelError`. No other module tests for their types."""

import json

import httpx2
import openai

from outlast.errors import ModelError, ModelFailure
from outlast.text.texts import cut
from outlast_activities.providers.error_bodies import words_of
from outlast_activities.providers.error_classes import MAX_MESSAGE, failure_of_answer, retry_after
from outlast_activities.providers.redaction import Redactor

_ADVICE = {
    ModelFailure.AUTHENTICATION: "check the server's api_key (OUTLAST_MODEL__API_KEY) and its account",
    ModelFailure.UNKNOWN_MODEL: "check the server's url, which ends in /v1, and the model's name",
}


def model_error(error: Exception, *, url: str, model: str | None, redactor: Redactor) -> ModelError:
    """Return an error of the client, classified."""
    server = f"the model server at {url}"
    if isinstance(error, openai.APITimeoutError):
        return ModelError(f"{server} did not answer in time", kind=ModelFailure.TIMEOUT)
    if isinstance(error, openai.APIConnectionError):
        return _connection_error(error.__cause__ or error, server, redactor)
    if isinstance(error, openai.APIError):
        return _answered_error(error, server, model, redactor)
    reason = _one_line(redactor.clean(str(error) or type(error).__name__))
    if isinstance(error, json.JSONDecodeError | UnicodeDecodeError):
        reason = f"sent invalid JSON: {reason}"
    elif isinstance(error, RecursionError):
        reason = "sent JSON that is nested too deep"
    else:
        reason = f"failed: {reason}"
    return ModelError(f"{server} {reason}", kind=ModelFailure.SERVER_ERROR)


def _connection_error(cause: BaseException, server: str, redactor: Redactor) -> ModelError:
    if isinstance(cause, httpx2.LocalProtocolError):
        # The fault of this request. The text of the error holds headers.
        return ModelError(
            f"{server} got no request, because it is not valid HTTP: check the API key, the session "
            "header and the workflow id",
            kind=ModelFailure.BAD_REQUEST,
        )
    reason = _one_line(redactor.clean(str(cause) or type(cause).__name__))
    return ModelError(f"{server} cannot be reached: {reason}", kind=ModelFailure.CONNECTION)


def _answered_error(
    error: openai.APIError, server: str, model: str | None, redactor: Redactor
) -> ModelError:
    has_status = isinstance(error, openai.APIStatusError)
    status = error.status_code if isinstance(error, openai.APIStatusError) else 200
    headers = error.response.headers if isinstance(error, openai.APIStatusError) else {}
    words = redactor.clean(words_of(error.body) or error.message)
    failure = failure_of_answer(status, error.body, words)
    answered = f"answered {status}" if has_status else "broke off its answer"
    for_model = f" for model {model!r}" if model else ""
    advice = f"; {_ADVICE[failure]}" if failure in _ADVICE else ""
    return ModelError(
        f"{server} {answered}{for_model}: {_one_line(words)}{advice}",
        kind=failure,
        retry_after=retry_after(headers),
    )


def _one_line(text: str) -> str:
    # An error page can be of any length.
    return cut(text[: 4 * MAX_MESSAGE], MAX_MESSAGE)

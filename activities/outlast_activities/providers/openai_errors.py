"""Errors of the `openai` client library as `ModelError`. No other module tests for their types."""

import json

import openai

from outlast.errors import ModelError, ModelFailure
from outlast.texts import cut
from outlast_activities.providers.error_classes import MAX_MESSAGE, failure_of_answer, retry_after

_ADVICE = {
    ModelFailure.AUTHENTICATION: "check the server's api_key (OUTLAST_MODEL__API_KEY) and its account",
    ModelFailure.UNKNOWN_MODEL: "check the server's url, which ends in /v1, and the model's name",
}


def model_error(error: Exception, *, url: str, model: str | None) -> ModelError:
    """Return an error of the client, classified."""
    server = f"the model server at {url}"
    if isinstance(error, openai.APITimeoutError):
        return ModelError(f"{server} did not answer in time", kind=ModelFailure.TIMEOUT)
    if isinstance(error, openai.APIConnectionError):
        cause = _one_line(str(error.__cause__ or error))
        return ModelError(f"{server} cannot be reached: {cause}", kind=ModelFailure.CONNECTION)
    if isinstance(error, openai.APIError):
        return _answered_error(error, server, model)
    failure = ModelFailure.SERVER_ERROR
    if isinstance(error, json.JSONDecodeError | UnicodeDecodeError):
        return ModelError(f"{server} sent invalid JSON: {_one_line(str(error))}", kind=failure)
    return ModelError(f"{server}: {_one_line(str(error) or type(error).__name__)}", kind=failure)


def _answered_error(error: openai.APIError, server: str, model: str | None) -> ModelError:
    has_status = isinstance(error, openai.APIStatusError)
    status = error.status_code if isinstance(error, openai.APIStatusError) else 200
    headers = error.response.headers if isinstance(error, openai.APIStatusError) else {}
    failure = failure_of_answer(status, error.body, error.message)
    answered = f"answered {status}" if has_status else "broke off its answer"
    for_model = f" for model {model!r}" if model else ""
    advice = f"; {_ADVICE[failure]}" if failure in _ADVICE else ""
    return ModelError(
        f"{server} {answered}{for_model}: {_one_line(error.message)}{advice}",
        kind=failure,
        retry_after=retry_after(headers),
    )


def _one_line(text: str) -> str:
    # An error page can be of any length.
    return cut(text[: 4 * MAX_MESSAGE], MAX_MESSAGE)

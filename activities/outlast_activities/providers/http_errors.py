"""Errors of the HTTP client and of a server's answers as `ModelError`."""

import json
from collections.abc import Mapping

import httpx2

from outlast.errors import ModelError, ModelFailure
from outlast.text.texts import cut
from outlast_activities.providers.error_bodies import words_of
from outlast_activities.providers.error_classes import (
    MAX_MESSAGE,
    failure_of_answer,
    retry_after,
    retry_info,
)
from outlast_activities.providers.redaction import Redactor
from outlast_activities.providers.streams import AnswerAborted

URL_END = "/v1"
"""The end of the URLs of most APIs."""

_ADVICE = {
    ModelFailure.AUTHENTICATION: "check the server's api_key (OUTLAST_MODEL__API_KEY) and its account",
    ModelFailure.UNKNOWN_MODEL: "check the server's url, which ends in {url_end}, and the model's name",
}


class ErrorStatus(Exception):
    """Raised when a server answers with an error status. `body` is the error in its JSON, or its text."""

    def __init__(self, status: int, headers: Mapping[str, str], body: object) -> None:
        super().__init__(f"status {status}")
        self.status = status
        self.headers = headers
        self.body = body


QUERY_ERRORS = (httpx2.HTTPError, ErrorStatus, AnswerAborted, ValueError, RecursionError)
"""What a request that generates nothing can raise, if its answer cannot be used."""


def model_error(
    error: Exception, *, url: str, model: str | None, redactor: Redactor, url_end: str = URL_END
) -> ModelError:
    """Return an error of a request, classified. `url_end` is the end of the URLs of the API."""
    server = f"the model server at {url}"
    if isinstance(error, httpx2.TimeoutException):
        return ModelError(f"{server} did not answer in time", kind=ModelFailure.TIMEOUT)
    if isinstance(error, httpx2.HTTPError):
        return _connection_error(error, server, redactor)
    if isinstance(error, ErrorStatus):
        return _answered_error(error, server, model, redactor, url_end)
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
    error: ErrorStatus, server: str, model: str | None, redactor: Redactor, url_end: str
) -> ModelError:
    words = redactor.clean(words_of(error.body) or "without a reason")
    failure = failure_of_answer(error.status, error.body, words)
    for_model = f" for model {model!r}" if model else ""
    advice = f"; {_ADVICE[failure].format(url_end=url_end)}" if failure in _ADVICE else ""
    return ModelError(
        f"{server} answered {error.status}{for_model}: {_one_line(words)}{advice}",
        kind=failure,
        retry_after=retry_after(error.headers) or retry_info(error.body),
    )


def _one_line(text: str) -> str:
    # An error page can be of any length.
    return cut(text[: 4 * MAX_MESSAGE], MAX_MESSAGE)

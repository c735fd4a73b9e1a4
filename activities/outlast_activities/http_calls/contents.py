"""What an HTTP call of a pipeline returns, in the forms that the DSL defines."""

import base64
from collections.abc import Callable

from pydantic import JsonValue

from outlast.contracts.http_calls import HttpOutput
from outlast.text.json_text import from_json
from outlast_activities.http_calls.requests import public_headers
from outlast_activities.openapi.answers import Answer
from outlast_activities.openapi.requests import HttpRequest

HIDDEN_HEADERS = ("set-cookie", "www-authenticate", "proxy-authenticate")
"""Headers of answers that may hold credentials, or are about them."""


def output_of(
    output: HttpOutput, request: HttpRequest, answer: Answer, clean: Callable[[str], str]
) -> JsonValue:
    """Return the output of a call. `clean` removes credentials, which a server may send back.

    The content is JSON or text if its type says so, null without a body, and else in base64.
    """
    if output == "raw":
        return _base64(answer.body, clean)
    content = _content(answer, clean)
    if output == "content":
        return content
    headers: dict[str, JsonValue] = {
        name.lower(): clean(value)
        for name, value in answer.headers.items()
        if name.lower() not in HIDDEN_HEADERS
    }
    return {
        "request": {
            "method": request.method.lower(),
            "uri": clean(request.url),
            "headers": public_headers(request),
        },
        "statusCode": answer.status,
        "headers": headers,
        "content": content,
    }


def _content(answer: Answer, clean: Callable[[str], str]) -> JsonValue:
    if not answer.body:
        return None
    if answer.is_json:
        text = clean(answer.text())
        try:
            return from_json(text)
        except ValueError:
            return text
    return clean(answer.text()) if answer.is_text else _base64(answer.body, clean)


def _base64(body: bytes, clean: Callable[[str], str]) -> str:
    # Each byte is one character of this encoding, so that secrets in it are found.
    cleaned = clean(body.decode("latin-1")).encode("latin-1", "replace")
    return base64.b64encode(cleaned).decode()

"""Bodies of error answers, in the forms that model servers and gateways send them.

OpenAI: `{"error": {"message": …}}`. FastAPI: `{"detail": [{"loc": …, "msg": …}]}`. Ollama:
`{"error": "…"}`. Older vLLM: `{"object": "error", "message": …}`. Others: `{"errors": […]}`, a list
around the object, text, or an HTML page.
"""

import html
import json
import re
from collections.abc import Iterator, Mapping

MAX_WORDS = 4_000
"""Characters of a body's text. An error page can be of any length."""

MAX_DEPTH = 5
"""Levels of a body that are searched for text."""

MAX_ENTRIES = 5
"""Entries of a list of errors that are read."""

_CONTAINERS = (
    "error",
    "errors",
    "detail",
    "details",
    "message",
    "msg",
    "error_message",
    "error_msg",
)
_TEXTS = (*_CONTAINERS, "title", "reason", "description", "error_description", "text", "cause")

_TAG = re.compile(r"<[^<>]{0,500}>")
_INVISIBLE = re.compile(
    r"<(script|style|head)\b[^<>]{0,500}>.{0,4000}?</\1>", re.DOTALL | re.IGNORECASE
)
_TITLE = re.compile(r"<title[^<>]{0,100}>(.{0,500}?)</title>", re.DOTALL | re.IGNORECASE)


def error_in(body: object) -> object | None:
    """Return the error in a body that came with status 200, or None if it is an answer."""
    if isinstance(body, list):
        return next(
            (error for error in map(error_in, body[:MAX_ENTRIES]) if error is not None), None
        )
    if not isinstance(body, Mapping):
        return None
    for key in ("error", "errors"):
        if body.get(key):
            return _with_siblings(body, key)
    if "error" in (body.get("object"), body.get("type"), body.get("status")):
        return dict(body)
    is_answer = isinstance(body.get("choices"), list) or isinstance(body.get("usage"), Mapping)
    if not is_answer and any(body.get(key) for key in _CONTAINERS):
        return dict(body)
    return None


def _with_siblings(body: Mapping[str, object], key: str) -> object:
    """Return an error with the code beside it, where some servers put it."""
    codes = {name: body[name] for name in ("code", "status", "type") if body.get(name)}
    return {key: body[key], **codes} if codes else body[key]


def words_of(body: object) -> str:
    """Return the text of an error body as one line, or its JSON if it has no text."""
    texts = [text for text in _texts(body, MAX_DEPTH) if text]
    if texts:
        return "; ".join(dict.fromkeys(texts))[:MAX_WORDS]
    if not body:
        return ""
    try:
        return json.dumps(body, ensure_ascii=False)[:MAX_WORDS]
    except (TypeError, ValueError, RecursionError):
        return ""


def mappings_in(body: object, depth: int = MAX_DEPTH) -> Iterator[Mapping[str, object]]:
    """Yield the objects in an error body, which may hold codes, from the outside in."""
    if depth < 1:
        return
    if isinstance(body, list):
        for entry in body[:MAX_ENTRIES]:
            yield from mappings_in(entry, depth - 1)
    if isinstance(body, Mapping):
        yield body
        for key in _CONTAINERS:
            yield from mappings_in(body.get(key), depth - 1)


def _texts(body: object, depth: int) -> Iterator[str]:
    if depth < 1:
        return
    if isinstance(body, str):
        yield _plain(body)
    elif isinstance(body, list):
        for entry in body[:MAX_ENTRIES]:
            yield from _texts(entry, depth - 1)
    elif isinstance(body, Mapping):
        place = body.get("loc")
        prefix = ".".join(map(str, place[:10])) + ": " if isinstance(place, list) and place else ""
        for key in _TEXTS:
            for text in _texts(body.get(key), depth - 1):
                yield prefix + text


def _plain(text: str) -> str:
    text = text[: 4 * MAX_WORDS]
    if "<" in text:
        title = _TITLE.search(text)
        text = _TAG.sub(" ", _INVISIBLE.sub(" ", text))
        text = html.unescape(f"{title.group(1)}: {text}" if title else text)
    return " ".join(text.split())

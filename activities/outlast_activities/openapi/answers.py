"""Answers of HTTP APIs as the results that a model reads."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pydantic import JsonValue

from outlast.media.media import File, Image, uploaded
from outlast.text.json_text import from_json
from outlast.text.texts import cut

MAX_REASON_BYTES = 200
"""Bytes of the reason why a body is left out."""

_TEXTS = ("application/xml", "application/yaml", "application/x-ndjson", "application/jsonl")


@dataclass(frozen=True)
class Answer:
    """An answer of a server, whose body has been read."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    method: str

    @property
    def media_type(self) -> str:
        """The type of the body, in lower case and without parameters."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def is_json(self) -> bool:
        """Whether the type of the body is JSON."""
        return self.media_type == "application/json" or self.media_type.endswith("+json")

    @property
    def is_text(self) -> bool:
        """Whether the body is text, also without a type."""
        kind = self.media_type
        return not kind or kind.startswith("text/") or kind.endswith("+xml") or kind in _TEXTS

    def text(self) -> str:
        """Return the body as text."""
        return self.body.decode(errors="replace")

    def error_body(self) -> object:
        """Return the JSON of the body, or its text."""
        try:
            return from_json(self.body)
        except ValueError:
            return self.text()


def result_of(answer: Answer, clean: Callable[[str], str]) -> JsonValue:
    """Return the result of a call: JSON, text, or the reference of an image or a PDF file.

    `clean` removes credentials, which a server may send back.
    """
    if not answer.body:
        return {"status": answer.status}
    if answer.is_json:
        return _json(clean(answer.text()))
    return clean(answer.text()) if answer.is_text else _media(answer.body, answer.media_type)


def _json(text: str) -> JsonValue:
    try:
        return from_json(text)
    except ValueError:
        return text


def _media(body: bytes, kind: str) -> str:
    make = Image if kind.startswith("image/") else File
    if make is File and kind != "application/pdf":
        return f"[{kind}: left out: it is neither JSON, text, an image nor a PDF file]"
    try:
        return uploaded(make.from_bytes(body, kind))
    except ValueError as error:
        return f"[{kind}: left out: {cut(str(error), MAX_REASON_BYTES)}]"

"""Images and files in inputs, messages, arguments and results. A history holds references to them."""

import hashlib
import json
import mimetypes
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self
from urllib.parse import urlsplit

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, TypeAdapter
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import (
    CoreSchema,
    PydanticCustomError,
    PydanticSerializationError,
    core_schema,
)

from outlast.contracts.media import (
    ID_CHARACTERS,
    IMAGE_TYPES,
    MAX_MEDIA_BYTES,
    MAX_MEDIA_NAME,
    MAX_MEDIA_URL,
    MediaReference,
)

_SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"%PDF-", "application/pdf"),
)


_REFERENCE_WORDS = "the whole reference, which begins with media:"
"""Ends the description of the schema of a reference."""


@dataclass
class Uploads:
    """The images and files whose references were written, by id. Their bytes must be stored next."""

    pending: dict[str, "Media"] = field(default_factory=dict)


_UPLOADS: ContextVar[Uploads | None] = ContextVar("outlast_uploads", default=None)
_LOADED: ContextVar[Mapping[str, bytes]] = ContextVar("outlast_loaded_media")


@contextmanager
def collected_uploads() -> Iterator[Uploads]:
    """Collect the images and files that are written as JSON in the block."""
    uploads = Uploads()
    token = _UPLOADS.set(uploads)
    try:
        yield uploads
    finally:
        _UPLOADS.reset(token)


@contextmanager
def loaded_media(data: Mapping[str, bytes]) -> Iterator[None]:
    """Give images and files that are read from JSON in the block their bytes, by id."""
    token = _LOADED.set(data)
    try:
        yield
    finally:
        _LOADED.reset(token)


class Media:
    """An image or a file: its bytes, or a URL that a model server fetches.

    JSON holds its reference as text. Two values are equal if their references are.
    """

    kind: ClassVar[str] = "file"
    __pydantic_serializer__: ClassVar[Any]

    def __init__(self, reference: MediaReference, data: bytes | None = None) -> None:
        self._reference = reference
        self._data = data

    @classmethod
    def from_bytes(cls, data: bytes, media_type: str | None = None, name: str = "") -> Self:
        """Return one with these bytes. The first bytes tell the type of images and PDF files.

        Raises `ValueError` for an unknown or unsupported type, and for more than 20 MB.
        """
        if not isinstance(data, bytes | bytearray):
            raise TypeError(f"{cls.__name__}: {type(data).__name__} is not bytes")
        if not data:
            raise ValueError(f"{cls.__name__}: there are no bytes")
        if len(data) > MAX_MEDIA_BYTES:
            raise ValueError(
                f"{cls.__name__}: {len(data):,} bytes are too many; at most {MAX_MEDIA_BYTES:,} are allowed"
            )
        media_type = cls._checked_type(_type_of_bytes(data) or media_type, name)
        if cls is Image and _type_of_bytes(data) is None:
            raise ValueError(f"{cls.__name__}: the bytes are not {media_type}")
        digest = hashlib.sha256(data).hexdigest()[:ID_CHARACTERS]
        reference = MediaReference(
            media_type, id=digest, size=len(data), name=_printable(name)[:MAX_MEDIA_NAME]
        )
        return cls(reference, bytes(data))

    @classmethod
    def from_path(cls, path: str | Path, media_type: str | None = None) -> Self:
        """Read a file of this machine. Raises `OSError` if it cannot be read, and `ValueError`."""
        path = Path(path)
        if path.stat().st_size > MAX_MEDIA_BYTES:
            raise ValueError(f"{path} is too large; at most {MAX_MEDIA_BYTES:,} bytes are allowed")
        guessed, _ = mimetypes.guess_type(path.name)
        data = path.read_bytes()
        return cls.from_bytes(data, media_type or _type_of_bytes(data) or guessed, path.name)

    @classmethod
    def from_url(cls, url: str, media_type: str | None = None) -> Self:
        """Return one that the model server fetches itself, when the model is called.

        Workers never fetch it. A worker passes the URL on only if its host is in `media.url_hosts`. Raises
        `ValueError` if the URL is not `https`.
        """
        parts = urlsplit(url)
        if (
            parts.scheme != "https"
            or not parts.hostname
            or parts.username
            or len(url) > MAX_MEDIA_URL
        ):
            raise ValueError(
                f"{cls.__name__}: {url[:100]!r} must be an https URL without a password, of at most"
                f" {MAX_MEDIA_URL:,} characters"
            )
        guessed, _ = mimetypes.guess_type(parts.path)
        media_type = cls._checked_type(media_type or guessed, parts.path)
        return cls(MediaReference(media_type, url=url))

    @property
    def media_type(self) -> str:
        """The media type, such as `image/png`."""
        return self._reference.media_type

    @property
    def name(self) -> str:
        """The name of the file, or nothing."""
        return self._reference.name

    @property
    def size(self) -> int:
        """The number of bytes; 0 for a URL."""
        return self._reference.size

    @property
    def id(self) -> str:
        """The id of the bytes, which is the beginning of their SHA-256; nothing for a URL."""
        return self._reference.id

    @property
    def url(self) -> str | None:
        """The URL, or None if the bytes are stored."""
        return self._reference.url or None

    @property
    def reference(self) -> str:
        """The text that stands for it in JSON and in prompts."""
        return self._reference.text

    @property
    def data(self) -> bytes:
        """The bytes. Tools get their arguments with bytes.

        Raises `ValueError` if they are not here: for a URL, and in an answer (see `Client.download`).
        """
        if self._data is None:
            raise ValueError(f"the bytes of {self.reference} are not here")
        return self._data

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Media) and self._reference == other._reference

    def __hash__(self) -> int:
        return hash(self._reference)

    def __repr__(self) -> str:
        return f"<outlast.{type(self).__name__} {self._reference.label}>"

    @classmethod
    def _checked_type(cls, media_type: str | None, name: str) -> str:
        what = f"{cls.__name__}{f' {name[-60:]!r}' if name else ''}"
        if media_type is None:
            raise ValueError(f"{what}: the media type is unknown; pass media_type=")
        media_type = media_type.strip().lower()
        if MediaReference.parse(f"media:{media_type};bytes=1;id={'0' * ID_CHARACTERS}") is None:
            raise ValueError(f"{what}: {media_type!r} is not a media type such as 'image/png'")
        if cls is Image and media_type not in IMAGE_TYPES:
            raise ValueError(f"{what}: {media_type!r}; an image is one of {', '.join(IMAGE_TYPES)}")
        if cls is File and media_type.startswith("image/"):
            raise ValueError(f"{what}: {media_type!r} is an image; use Image")
        return media_type

    @classmethod
    def _read(cls, value: object) -> Self:
        """Return the value of JSON text, with its bytes if they are loaded."""
        if isinstance(value, cls):
            return value
        reference = MediaReference.parse(value) if isinstance(value, str) else None
        if reference is None or reference.kind != cls.kind:
            raise PydanticCustomError(
                "media",
                "must be the reference of {kind} of this conversation, which begins with 'media:'",
                {"kind": "an image" if cls.kind == "image" else "a file"},
            )
        loaded = _LOADED.get(None)
        if loaded is not None and reference.id and reference.id not in loaded:
            raise PydanticCustomError("media", "names bytes that are not in the media store")
        return cls(reference, None if loaded is None else loaded.get(reference.id))

    def _written(self) -> str:
        """Return the JSON text, and note that the bytes must be stored."""
        if self._data is not None:
            uploads = _UPLOADS.get()
            if uploads is None:
                raise PydanticSerializationError(
                    f"{self!r} needs a media store: set media.store in the settings of the worker"
                )
            uploads.pending[self._reference.id] = self
        return self.reference

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Read and write references."""
        del source, handler
        return core_schema.no_info_plain_validator_function(
            cls._read,
            serialization=core_schema.plain_serializer_function_ser_schema(
                lambda value: value._written(), return_schema=core_schema.str_schema()
            ),
        )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Return the schema of a reference."""
        del schema, handler
        what = "an image" if cls.kind == "image" else "a file"
        return {
            "type": "string",
            "description": f"{what} of this conversation: {_REFERENCE_WORDS}",
        }


class Image(Media):
    """An image: png, jpeg, gif or webp.

    Use it in the input of a run, in a message, and as an argument or a result of a tool. Models that can
    see images see it. Create one with `from_path`, `from_bytes` or `from_url`.
    """

    kind = "image"


class File(Media):
    """A file, such as a PDF or a text. Models read text files as text.

    Use it as an `Image`. Create one with `from_path`, `from_bytes` or `from_url`.
    """


def _set_serializers() -> None:
    # Values without a type hint, such as the entries of a plain list, are written in the same way.
    for kind in (Image, File):
        kind.__pydantic_serializer__ = TypeAdapter(kind).serializer


_set_serializers()


def _printable(name: str) -> str:
    return "".join(letter for letter in name if letter.isprintable())


def _type_of_bytes(data: bytes | bytearray) -> str | None:
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for start, kind in _SIGNATURES if data.startswith(start)), None)


def uploaded(media: Media) -> str:
    """Return the reference of an image or a file, and note that its bytes must be stored.

    Raises `ValueError` if nothing stores them.
    """
    return media._written()


def takes_media(schema: Mapping[str, Any]) -> bool:
    """Return whether values of a JSON Schema can have images or files."""
    return _REFERENCE_WORDS in json.dumps(schema)


def with_references(value: Any) -> Any:
    """Return a value for JSON: references in place of images and files.

    A list of texts, images and files becomes one text, with an entry on each line.
    """
    if isinstance(value, Media):
        return value._written()
    if isinstance(value, list | tuple):
        entries = [with_references(entry) for entry in value]
        is_message = all(isinstance(entry, str | Media) for entry in value)
        has_media = any(isinstance(entry, Media) for entry in value)
        return "\n".join(entries) if is_message and has_media else entries
    if isinstance(value, Mapping):
        return {name: with_references(entry) for name, entry in value.items()}
    return value

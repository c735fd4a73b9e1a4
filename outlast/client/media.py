"""Images and files of a client: their bytes are stored before a request or a message names them."""

import os
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from pydantic import JsonValue
from temporalio.client import Client as TemporalClient

from outlast.contracts.media import MediaReference
from outlast.errors import BadRequest, NotReady
from outlast.media.media import Media, collected_uploads, with_references
from outlast.media.store import STORE_VARIABLE, MediaStore, media_store
from outlast.text.json_text import MAX_JSON_DEPTH
from outlast.text.texts import cut

Text: TypeAlias = str | Media | Sequence[str | Media]
"""A message: text, an image or a file, or several of them."""

RunInput: TypeAlias = (
    "str | int | float | bool | Media | Sequence[RunInput] | Mapping[str, RunInput] | None"
)
"""An input: JSON, in which images and files may be."""


class ClientMedia:
    """Stores and loads the images and files of one client."""

    def __init__(self, client: TemporalClient, url: str | None) -> None:
        self._client = client
        self._url = url
        self._store: MediaStore | None = None

    async def stored(self, value: RunInput, tenant: str, field: str = "input") -> JsonValue:
        """Return a value with references in place of images and files, whose bytes are stored for a tenant.

        Raises `NotReady` without a store, `Unavailable` if it cannot be used, and `BadRequest` for a value
        that is nested too deep.
        """
        try:
            with collected_uploads() as uploads:
                plain: JsonValue = with_references(value)
        except RecursionError:
            raise BadRequest(
                f"{field}: nested too deep: at most {MAX_JSON_DEPTH} levels are allowed"
            ) from None
        if uploads.pending:
            await self._opened().save(uploads.pending.values(), tenant)
        return plain

    async def bytes_of(self, media: Media | str, tenant: str) -> bytes:
        """Return the bytes of an image or a file. Raises `BadRequest` if the tenant does not have them."""
        text = media.reference if isinstance(media, Media) else media
        reference = MediaReference.parse(text) if isinstance(text, str) else None
        if reference is None:
            raise BadRequest(
                f"media: {cut(repr(text), 100)} is not an image, a file or the reference of one, which"
                " begins with 'media:'"
            )
        data = await self._opened().load(reference.id, tenant) if reference.id else None
        if data is None:
            raise BadRequest(
                f"{reference.text} is not in the media store of the tenant {cut(tenant, 100)!r}"
            )
        return data

    def _opened(self) -> MediaStore:
        if self._store is None:
            url = self._url or os.environ.get(STORE_VARIABLE)
            if not url:
                raise NotReady(
                    "images and files need a media store: pass media_store= to the client, or set"
                    f" {STORE_VARIABLE}"
                )
            self._store = media_store(url, self._client.data_converter.payload_codec)
        return self._store

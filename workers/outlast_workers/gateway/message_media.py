"""Images and files in requests to the gateway: read from the forms of clients, and stored for a tenant."""

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from outlast.client.media import ClientMedia
from outlast.errors import BadRequest
from outlast.media.media import File, Image, Media
from outlast.text.texts import cut
from outlast.text.urls import host_of
from outlast_workers.gateway.http_messages import MAX_BODY_BYTES

MAX_MEDIA_BODY_BYTES = 28_000_000
"""Bytes of the body of a request, if the gateway has a media store: a file of 20 MB in base64."""

MAX_MESSAGE_MEDIA = 20
"""Images and files of one message."""

MessageParts: TypeAlias = Sequence[str | Media]
"""A message: its texts, images and files, in their order."""


def is_blank(parts: MessageParts) -> bool:
    """Return whether a message has no media, and no character that a person could see."""
    return not any(isinstance(part, Media) or _is_visible(part) for part in parts)


def _is_visible(text: str) -> bool:
    return any(character.isprintable() and not character.isspace() for character in text)


@dataclass(frozen=True)
class GatewayMedia:
    """Stores the images and files of messages. Without a store, a message with one is rejected.

    A URL is accepted only if its host is in `url_hosts`, because workers pass no other one on.
    """

    store: ClientMedia | None = None
    url_hosts: frozenset[str] = frozenset()

    @property
    def max_body_bytes(self) -> int:
        """The bytes that the body of a request may have."""
        return MAX_BODY_BYTES if self.store is None else MAX_MEDIA_BODY_BYTES

    async def text_of(self, parts: MessageParts, tenant: str) -> str:
        """Return a message as text, with the references of its images and files, which are stored first.

        Raises `BadRequest` if they cannot be used, and `Unavailable` if the store cannot.
        """
        media = [part for part in parts if isinstance(part, Media)]
        if not media:
            return "\n".join(part for part in parts if isinstance(part, str))
        if self.store is None:
            raise BadRequest(
                "images and files need a media store: set media.store in the settings of the gateway and"
                " of its workers"
            )
        if len(media) > MAX_MESSAGE_MEDIA:
            raise BadRequest(
                f"the message has {len(media)} images and files; at most {MAX_MESSAGE_MEDIA} are allowed"
            )
        for part in media:
            self._check_host(part)
        return str(await self.store.stored(list(parts), tenant))

    def _check_host(self, media: Media) -> None:
        if media.url is None:
            return
        host = host_of(media.url)
        if host not in self.url_hosts:
            raise BadRequest(
                f"the host {cut(host, 100)!r} of an image or a file is not in media.url_hosts: send the"
                " bytes instead"
            )


def media_of(
    kind: type[Media], value: object, place: str, *, name: str = "", media_type: str | None = None
) -> Media:
    """Return an image or a file from an https URL, a data URL, or base64. Raises `BadRequest`."""
    if not isinstance(value, str) or not value:
        raise BadRequest(f"{place}: must be an https URL, a data URL or base64")
    try:
        if "://" in value[:20]:
            return kind.from_url(value, media_type)
        if value.startswith("data:"):
            header, comma, value = value.partition(",")
            if not comma or not header.endswith(";base64"):
                raise BadRequest(f"{place}: the data URL has no base64")
            media_type = header.removeprefix("data:").partition(";")[0] or media_type
        return kind.from_bytes(base64.b64decode(value, validate=True), media_type, name)
    except binascii.Error:
        raise BadRequest(f"{place}: is not base64, and no https URL") from None
    except ValueError as error:
        raise BadRequest(f"{place}: {error}") from None


def image_of(value: object, place: str) -> Media:
    """Return an image, as `media_of` does."""
    return media_of(Image, value, place)


def file_of(value: object, place: str, *, name: str = "", media_type: str | None = None) -> Media:
    """Return a file, as `media_of` does."""
    return media_of(File, value, place, name=name, media_type=media_type)

"""The images and files of prompts: found in the turns, and loaded from the media store."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from temporalio import activity

from outlast.contracts.media import MediaReference, references_in
from outlast.errors import ModelError, ModelFailure, Unavailable
from outlast.media.store import MediaStore
from outlast.text.urls import host_of
from outlast.turns import MediaPart, ResultsTurn, Turn, UserTurn
from outlast.weighed_cache import WeighedCache

MAX_PROMPT_MEDIA = 100
"""Images and files of one prompt. Further references stay text."""

MAX_PROMPT_MEDIA_BYTES = 50_000_000
"""Bytes of the images and files of one prompt: as many as any API takes."""

MAX_CACHED_MEDIA_BYTES = 100_000_000
"""Bytes of images and files that a worker keeps for the next model calls."""


class PromptMedia:
    """Loads the images and files that a prompt names. Without a store it loads none.

    A reference in untrusted text does no harm: its id names bytes that the tenant of the run stored. A URL
    is passed on only if its host is in `url_hosts`.
    """

    def __init__(self, store: MediaStore | None, url_hosts: Iterable[str] = ()) -> None:
        self._store = store
        self._url_hosts = frozenset(url_hosts)
        self._cache: WeighedCache[tuple[str, str], bytes] = WeighedCache(
            max_bytes=MAX_CACHED_MEDIA_BYTES
        )

    async def of(self, turns: Sequence[Turn], tenant: str) -> dict[str, MediaPart]:
        """Return the images and files of a tenant that turns name, by their references.

        Raises `ModelError` if the store cannot be read, or if they are too large. A reference whose bytes
        are not in the store stays text.
        """
        parts: dict[str, MediaPart] = {}
        size = 0
        for reference in _named(turns):
            if reference.text in parts or len(parts) >= MAX_PROMPT_MEDIA:
                continue
            part = await self._part(reference, tenant)
            if part is not None:
                parts[reference.text] = part
                size += len(part.data)
            if size > MAX_PROMPT_MEDIA_BYTES:
                raise ModelError(
                    "the images and files of the prompt have more than"
                    f" {MAX_PROMPT_MEDIA_BYTES:,} bytes: send fewer, or smaller ones",
                    kind=ModelFailure.BAD_REQUEST,
                )
        return parts

    async def _part(self, reference: MediaReference, tenant: str) -> MediaPart | None:
        text, media_type, name = reference.text, reference.media_type, reference.name
        if reference.url:
            host = host_of(reference.url)
            if host in self._url_hosts and reference.url.startswith("https://"):
                return MediaPart(text, media_type, url=reference.url, name=name)
            _warn(text, f"the host {host!r} is not in media.url_hosts")
            return None
        data = await self._bytes(reference.id, tenant)
        if data is None:
            _warn(
                text,
                "the tenant does not have it in the media store"
                if self._store
                else "there is no media store",
            )
            return None
        return MediaPart(text, media_type, data=data, name=name)

    async def _bytes(self, media_id: str, tenant: str) -> bytes | None:
        data = self._cache.get((tenant, media_id))
        if data is not None or self._store is None:
            return data
        try:
            data = await self._store.load(media_id, tenant)
        except Unavailable as error:
            raise ModelError(str(error), kind=ModelFailure.SERVER_ERROR) from None
        if data is not None:
            self._cache.put((tenant, media_id), data, len(data))
        return data


def media_problem(media: Mapping[str, MediaPart], *, images: bool, files: bool) -> str | None:
    """Return what a model cannot take of images and files, or None."""
    for part in media.values():
        if part.is_image and not images:
            return "takes no images; choose a model that does, or set images = true"
        if not part.is_image and not files and not part.is_text:
            return f"takes no files, such as {part.media_type!r}; choose a model that does"
    return None


def _named(turns: Sequence[Turn]) -> Iterator[MediaReference]:
    for turn in turns:
        texts: Iterable[str] = ()
        if isinstance(turn, UserTurn):
            texts = (turn.text,)
        elif isinstance(turn, ResultsTurn):
            texts = (result.content for result in turn.results)
        for text in texts:
            for _, reference in references_in(text):
                yield reference


def _warn(reference: str, reason: str) -> None:
    activity.logger.warning(
        "generation.media_left_out", extra={"reference": reference, "reason": reason}
    )

"""Images and files of tool calls: arguments get their bytes before, and results are stored after."""

from collections.abc import Awaitable, Callable
from typing import Any

from outlast.agents.tools import Tool
from outlast.contracts.effects import EFFECTFUL
from outlast.contracts.media import references_in
from outlast.errors import ToolError, Unavailable
from outlast.media.media import collected_uploads, loaded_media, takes_media
from outlast.media.store import MediaStore
from outlast.text.error_text import error_text
from outlast.text.json_text import to_json

MAX_CALL_MEDIA = 20
"""Images and files in the arguments, or in the result, of one call. A call with more fails."""


class ToolMedia:
    """The images and files of one worker's tools. Without a store, tools take and return none."""

    def __init__(self, store: MediaStore | None) -> None:
        self._store = store

    async def run(
        self,
        tool: Tool[Any, ..., Any],
        arguments: bytes,
        tenant: str,
        call: Callable[[], Awaitable[bytes]],
    ) -> bytes:
        """Run a call with the bytes of its arguments, and store those of its result before it is returned.

        Both are those of the tenant of the run.

        Raises `Unavailable` if the store cannot be used, and `ToolError` for too many of them.
        """
        if self._store is None:
            return await call()
        loaded = await self._loaded(self._store, tool, arguments, tenant)
        with collected_uploads() as uploads, loaded_media(loaded):
            encoded = await call()
        try:
            if len(uploads.pending) > MAX_CALL_MEDIA:
                raise ToolError(
                    f"{tool.name} returned {len(uploads.pending)} images and files; at most "
                    f"{MAX_CALL_MEDIA} are allowed: ask for less"
                )
            await self._store.save(uploads.pending.values(), tenant)
        except (ToolError, Unavailable) as error:
            if tool.spec.effect not in EFFECTFUL:
                raise
            # The call has happened, so it must not look like one that failed.
            return to_json({"happened": True, "error": error_text(error)}).encode()
        return encoded

    @staticmethod
    async def _loaded(
        store: MediaStore, tool: Tool[Any, ..., Any], arguments: bytes, tenant: str
    ) -> dict[str, bytes]:
        if not takes_media(tool.spec.parameters):
            return {}
        text = arguments.decode(errors="replace")
        ids = dict.fromkeys(ref.id for _, ref in references_in(text) if ref.id)
        if len(ids) > MAX_CALL_MEDIA:
            raise ToolError(
                f"{tool.name}: the arguments name {len(ids)} images and files; at most {MAX_CALL_MEDIA} are"
                " allowed"
            )
        found = {media_id: await store.load(media_id, tenant) for media_id in ids}
        return {media_id: data for media_id, data in found.items() if data is not None}

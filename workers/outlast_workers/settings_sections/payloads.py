"""The table `payloads`: how payloads are encoded before Temporal stores them, and where large ones are."""

from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from outlast.contracts.base import InputModel
from outlast.errors import NotReady
from outlast.temporal.payload_codec import load_codec
from outlast.temporal.payload_store import INLINE_BYTES, MAX_INLINE_BYTES, payload_storage
from outlast.temporal.plugin import OutlastPlugin


def _loadable(reference: str) -> str:
    try:
        load_codec(reference)
    except NotReady as error:
        raise PydanticCustomError("codec", "{reason}", {"reason": str(error)}) from None
    return reference


def _known_store(url: str) -> str:
    try:
        payload_storage(url)
    except NotReady as error:
        raise PydanticCustomError("store", "{reason}", {"reason": str(error)}) from None
    return url


class PayloadsSettings(InputModel):
    """The payload codec, which can encrypt what Temporal stores, and the store of large payloads."""

    codec: Annotated[str, Field(max_length=500), AfterValidator(_loadable)] | None = None
    """`module:name` of a `PayloadCodec`, or of a function that returns one. Clients need the same one."""

    store: Annotated[str, Field(max_length=1_000), AfterValidator(_known_store)] | None = None
    """`file:///folder`, `s3://bucket/prefix` or `gs://bucket/prefix`. Clients need the same one."""
    inline_bytes: int = Field(default=INLINE_BYTES, ge=1_000, le=MAX_INLINE_BYTES)
    """Larger payloads go to the store, and histories have references to them."""

    def plugin(self) -> OutlastPlugin:
        """Return the Temporal plugin with the codec and the store."""
        codec = None if self.codec is None else load_codec(self.codec)
        store = None if self.store is None else payload_storage(self.store, self.inline_bytes)
        return OutlastPlugin(codec, store)

"""The table `payloads`: how payloads are encoded before Temporal stores them."""

from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError
from temporalio.converter import PayloadCodec

from outlast.contracts.base import InputModel
from outlast.errors import NotReady
from outlast.temporal.payload_codec import load_codec


def _loadable(reference: str) -> str:
    try:
        load_codec(reference)
    except NotReady as error:
        raise PydanticCustomError("codec", "{reason}", {"reason": str(error)}) from None
    return reference


class PayloadsSettings(InputModel):
    """The payload codec, which can encrypt what Temporal stores."""

    codec: Annotated[str, Field(max_length=500), AfterValidator(_loadable)] | None = None
    """`module:name` of a `PayloadCodec`, or of a function that returns one. Clients need the same one."""

    def load(self) -> PayloadCodec | None:
        """Return the codec, or None."""
        return None if self.codec is None else load_codec(self.codec)

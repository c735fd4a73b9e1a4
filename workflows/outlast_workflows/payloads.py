"""Payloads as they arrive: raw, for what is wrong with them is said by the door."""

from temporalio.api.common.v1 import Payload
from temporalio.common import RawValue

from outlast.errors import BadRequest

NOTHING = RawValue(Payload(metadata={"encoding": b"binary/null"}))
"""What a handler gets that was called without input."""


def json_of(value: RawValue) -> bytes | None:
    """Return a payload's JSON, None where there is none; raises `BadRequest` for another encoding."""
    encoding = value.payload.metadata.get("encoding", b"").decode(errors="replace")
    if encoding == "binary/null":
        return None
    if encoding != "json/plain":
        raise BadRequest(f"input: is encoded as {encoding!r}; give JSON (json/plain)")
    return value.payload.data

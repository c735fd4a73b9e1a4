"""Payloads of handlers and of the run's input, which arrive raw.

The default decoder would fail the workflow task. Here, bad input raises `BadRequest` with a reason.
"""

from typing import TypeVar

from temporalio.api.common.v1 import Payload
from temporalio.common import RawValue

from outlast.contracts.base import InputModel
from outlast.errors import BadRequest
from outlast.validation import parse

NO_INPUT = RawValue(Payload(metadata={"encoding": b"binary/null"}))
"""The payload of a call without input."""

_Input = TypeVar("_Input", bound=InputModel)


def json_of(value: RawValue) -> bytes | None:
    """Return a payload's JSON, or None without one; raises `BadRequest` for another encoding."""
    encoding = value.payload.metadata.get("encoding", b"").decode(errors="replace")
    if encoding == "binary/null":
        return None
    if encoding != "json/plain":
        raise BadRequest(f"input: is encoded as {encoding!r}; give JSON (json/plain)")
    return value.payload.data


def parse_payload(model: type[_Input], payload: RawValue, name: str) -> _Input:
    """Return the payload of the handler `name`, or raise `BadRequest`. No input counts as `{}`."""
    return parse(model, json_of(payload) or b"{}", what=f"the payload of {name}")

"""Payloads from outside: inputs of handlers and of the run, and results of activities and children.

All of them arrive raw. The default decoder would fail the workflow task, which would be repeated without
end. Here, a bad payload raises an exception that a caller can name.
"""

from typing import TypeVar

from pydantic import BaseModel, ValidationError
from temporalio.api.common.v1 import Payload
from temporalio.common import RawValue

from outlast.contracts.base import InputModel
from outlast.errors import BadRequest
from outlast.text.json_text import NestedTooDeep, from_json, to_json
from outlast.text.texts import cut
from outlast.validation import explain, parse

MAX_ENCODING_BYTES = 40
"""The name of an encoding in a message: a stranger can write any."""

JSON_ENCODINGS = ("json/plain", "json/protobuf")

NO_INPUT = RawValue(Payload(metadata={"encoding": b"binary/null"}))
"""The payload of a call without input."""

_Input = TypeVar("_Input", bound=InputModel)
_Result = TypeVar("_Result", bound=BaseModel)


def json_of(value: RawValue) -> bytes | None:
    """Return a payload's JSON, or None without one; raises `BadRequest` for another encoding."""
    encoding = _encoding_of(value)
    if encoding == "binary/null":
        return None
    if encoding != "json/plain":
        shown = cut(encoding, MAX_ENCODING_BYTES)
        raise BadRequest(f"input: is encoded as {shown!r}; give JSON (json/plain)")
    return value.payload.data


def parse_payload(model: type[_Input], payload: RawValue, name: str) -> _Input:
    """Return the payload of the handler `name`, or raise `BadRequest`. No input counts as `{}`."""
    return parse(model, json_of(payload) or b"{}", what=f"the payload of {name}")


def result_text(result: RawValue | None) -> str:
    """Return a result of an activity or a child as JSON text in one line.

    The text is valid JSON with finite numbers, in UTF-8, and cannot look like several entries of a
    transcript. Raises `NestedTooDeep`, or else `ValueError` with the reason for anything else.
    """
    encoding = "binary/null" if result is None else _encoding_of(result)
    if result is None or encoding == "binary/null":
        return "null"
    if encoding not in JSON_ENCODINGS:
        raise ValueError(
            f"it is encoded as {cut(encoding, MAX_ENCODING_BYTES)!r}, which is not JSON"
        )
    try:
        text = result.payload.data.decode()
        value = from_json(text)
    except UnicodeError:
        raise ValueError("it is not text in UTF-8") from None
    except NestedTooDeep:
        raise
    except ValueError as error:
        raise ValueError(f"it is not JSON: {error}") from None
    # The worker keeps the result as it wrote it, so equal text is found in its cache.
    return to_json(value) if "\n" in text or "\r" in text else text


def result_of(model: type[_Result], result: RawValue | None) -> _Result:
    """Return a result of an activity or a child as a model; raises `ValueError` with the reason."""
    text = result_text(result)
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        raise ValueError(explain(error)) from None
    except (ArithmeticError, RecursionError) as error:
        raise ValueError(f"it has an impossible value: {error}") from None


def _encoding_of(value: RawValue) -> str:
    return value.payload.metadata.get("encoding", b"").decode(errors="replace")

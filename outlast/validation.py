"""Validation of JSON that people write: an error names the field, its value and what is allowed."""

import json
from collections.abc import Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, JsonValue, ValidationError

from outlast.errors import BadRequest
from outlast.text.hints import hint
from outlast.text.json_text import MAX_JSON_DEPTH, checked_json, from_json, to_json
from outlast.text.texts import cut

MAX_PATH_BYTES = 200

MAX_REASONS = 3
"""Problems in one message: as many as a person corrects at once."""

MAX_UPDATE_BYTES = 1_000_000
"""An update as JSON. Above the server's limit of 2 MB, the workflow task would fail and be retried."""

_Model = TypeVar("_Model", bound=BaseModel)


def parse(model: type[_Model], data: bytes, *, what: str) -> _Model:
    """Parse `data` as JSON of `model`, or raise `BadRequest`; `what` names the data in messages."""
    try:
        value = from_json(data)
    except ValueError as error:
        raise BadRequest(f"{what}: not JSON ({error}); give a JSON object") from None
    if not isinstance(value, dict):
        raise BadRequest(
            f"{what}: {_short(value)} is not a JSON object; its fields are {_fields(model)}"
        )
    return validated(model, value)


def validated(model: type[_Model], value: dict[str, Any]) -> _Model:
    """Validate `value` as `model`, or raise `BadRequest` with the fields that are wrong."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise BadRequest(explain(error, model)) from None


def explain(error: ValidationError, model: type[BaseModel] | None = None) -> str:
    """Return the errors of pydantic in one line: the path of each field, its value and what is allowed.

    With a `model`, the message for an unknown field has the nearest known name.
    """
    details = error.errors(include_url=False)
    reasons = [_reason(detail, model) for detail in details[:MAX_REASONS]]
    more = len(details) - len(reasons)
    return "; ".join(reasons) + (f"; and {more} more" if more else "")


def _reason(detail: Any, model: type[BaseModel] | None) -> str:
    location: Sequence[str | int] = detail["loc"]
    path = cut(".".join(str(part) for part in location), MAX_PATH_BYTES)
    if detail["type"] == "extra_forbidden" and model is not None:
        known = list(_model_at(model, location[:-1]).model_fields)
        return f"{path}: unknown field; {hint(str(location[-1]), known)}"
    if detail["type"] == "missing":
        return f"{path}: is required"
    if detail["type"] in ("dict_type", "model_type"):
        return f"{path}: {_short(detail['input'])} is not a JSON object; give one, such as {{}}"
    message = str(detail["msg"]).removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    return f"{path}: {_short(detail['input'])}: {message}" if path else message


def _model_at(model: type[BaseModel], location: Sequence[str | int]) -> type[BaseModel]:
    for part in location:
        field = model.model_fields.get(str(part))
        if field is None:
            break
        for candidate in (field.annotation, *getattr(field.annotation, "__args__", ())):
            if isinstance(candidate, type) and issubclass(candidate, BaseModel):
                model = candidate
                break
    return model


def _fields(model: type[BaseModel]) -> str:
    return ", ".join(repr(name) for name in model.model_fields)


def _short(value: Any) -> str:
    try:
        text = repr(value)
    except (ValueError, RecursionError):
        # Python does not write an integer of more than 4,300 digits.
        text = f"a {type(value).__name__} that is too large to show"
    return text if len(text) <= 60 else f"{text[:57]}…"


def check_json(field: str, value: Any) -> None:
    """Raise `BadRequest` for a value of a program that is not JSON, with the name of its field."""
    try:
        json.dumps(value)
        checked_json(value, max_depth=MAX_JSON_DEPTH)
    except RecursionError:
        reason = f"nested too deep: at most {MAX_JSON_DEPTH} levels are allowed"
    except TypeError as error:
        reason = f"{error}; give text, numbers, lists and dicts"
    except ValueError as error:
        reason = str(error)
    else:
        return
    raise BadRequest(f"{field}: is not JSON: {reason}")


def check_update(name: str, payload: dict[str, JsonValue]) -> None:
    """Raise `BadRequest` for an update that is not JSON, or is too large: it would block the run."""
    for field, value in payload.items():
        check_json(field, value)
    size = len(to_json(payload).encode(errors="replace"))
    if size > MAX_UPDATE_BYTES:
        raise BadRequest(
            f"{name}: {size:,} bytes are too many; {MAX_UPDATE_BYTES:,} are allowed: pass a reference, such"
            " as a path or a URL, that a tool can read"
        )

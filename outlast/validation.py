"""The door: reads JSON that a person typed, or says in one line which field is wrong and why."""

import json
from collections.abc import Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from outlast.contracts.requests import AgentRequest
from outlast.errors import BadRequest
from outlast.jsonschema.schema_checks import check_schema
from outlast.texts import cut, hint
from outlast.transcripts import to_json

MAX_INPUT_BYTES = 1_000_000
"""An encoded request: a run that continues as new carries it on, packed, under the server's 2 MB."""

MAX_PATH_BYTES = 200

MAX_REASONS = 3
"""Problems named in one message: what a person mends in one go."""

_Model = TypeVar("_Model", bound=BaseModel)


def parse_request(data: bytes) -> AgentRequest:
    """Read the input of `AgentWorkflow`, or raise `BadRequest`."""
    if len(data) > MAX_INPUT_BYTES:
        raise BadRequest(
            f"input: {len(data):,} bytes are too many; at most {MAX_INPUT_BYTES:,} are allowed: "
            "pass a reference, such as a path or a URL, that a tool can read"
        )
    request = parse(AgentRequest, data, what="the input of AgentWorkflow")
    if request.spec is not None:
        try:
            check_schema(request.spec.output, "spec.output")
        except ValueError as error:
            raise BadRequest(str(error)) from None
    return request


def parse(model: type[_Model], data: bytes, *, what: str) -> _Model:
    """Read `data` as JSON of `model`, or raise `BadRequest`; `what` names it in messages."""
    try:
        value = json.loads(data, parse_constant=_no_number)
        to_json(value).encode()
    except UnicodeEncodeError:
        raise BadRequest(f"{what}: half a surrogate pair is no text") from None
    except (ValueError, RecursionError) as error:
        reason = "nested too deep" if isinstance(error, RecursionError) else error
        raise BadRequest(f"{what}: not JSON ({reason}); give a JSON object") from None
    if not isinstance(value, dict):
        raise BadRequest(
            f"{what}: {_short(value)} is not a JSON object; its fields are {_fields(model)}"
        )
    return validated(model, value)


def validated(model: type[_Model], value: dict[str, Any]) -> _Model:
    """Check `value` against `model`, or raise `BadRequest` with the fields that are wrong."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise BadRequest(explain(error, model)) from None


def explain(error: ValidationError, model: type[BaseModel] | None = None) -> str:
    """Return one line for what pydantic found: each field's path, its value and what is allowed.

    With the `model` that was asked for, an unknown field is answered with the nearest known one.
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


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def _fields(model: type[BaseModel]) -> str:
    return ", ".join(repr(name) for name in model.model_fields)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"

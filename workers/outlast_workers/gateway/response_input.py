"""The body of `POST /v1/responses`: what a client of OpenAI may send, and what an agent does not take.

An agent has its own instructions, tools and type of answer, and the run keeps the history. So fields that
would replace them are rejected, and fields that change nothing here are ignored.
"""

import mimetypes
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from outlast.contracts.bounds import MAX_ID_CHARACTERS
from outlast.contracts.human import HumanDecision
from outlast.errors import BadRequest
from outlast.media.media import Media
from outlast.text.json_text import from_json
from outlast.validation import validated
from outlast_workers.gateway.message_media import file_of, image_of, is_blank

APPROVAL_PREFIX = "mcpr_"
"""What the id of an approval request begins with; the id of the run's request follows."""

AGENTS_OWN = {
    "instructions": "an agent has its own instructions",
    "tools": "an agent has its own tools",
    "tool_choice": "an agent chooses its tools",
    "conversation": "continue with previous_response_id",
    "prompt": "an agent has its own prompt",
}
"""Fields that would change the agent, and why they are rejected."""

_APPROVAL_FIELDS = frozenset({"type", "id", "approval_request_id", "approve", "reason"})

_NEUTRAL: tuple[JsonValue, ...] = (None, [], "", "auto")
"""Values of those fields that ask for nothing."""


class ResponseBody(BaseModel):
    """The fields of a request that have a meaning here."""

    model_config = ConfigDict(extra="ignore", strict=True)

    model: str
    input: str | Annotated[list[dict[str, Any]], Field(fail_fast=True)]
    previous_response_id: str | None = None
    stream: bool | None = None
    background: bool | None = None
    metadata: dict[str, str] | None = Field(default=None, max_length=16)


@dataclass(frozen=True)
class UserInput:
    """What the client sends to the run: a message, decisions, or both."""

    parts: tuple[str | Media, ...] = ()
    decisions: tuple[HumanDecision, ...] = ()


def reject_fields(body: dict[str, Any], reasons: Mapping[str, str]) -> None:
    """Raise `BadRequest` for a field that would change the agent. `reasons` are by the names of fields."""
    for name, reason in reasons.items():
        if body.get(name) not in _NEUTRAL:
            raise BadRequest(f"{name}: is not supported: {reason}")


def read_body(body: dict[str, Any]) -> ResponseBody:
    """Return the checked body. Raises `BadRequest` for fields that would change the agent."""
    reject_fields(body, AGENTS_OWN)
    kind = (
        ((body.get("text") or {}).get("format") or {}).get("type", "text") if _is_text(body) else ""
    )
    if kind != "text":
        raise BadRequest("text: is not supported: an agent has its own type of answer")
    return validated(ResponseBody, body)


def _is_text(body: dict[str, Any]) -> bool:
    text = body.get("text")
    return text is None or (isinstance(text, dict) and isinstance(text.get("format") or {}, dict))


def user_input(body: ResponseBody) -> UserInput:
    """Return the message and the decisions of a body. Raises `BadRequest` for other items."""
    if isinstance(body.input, str):
        return _checked([body.input] if body.input else [], [])
    parts: list[str | Media] = []
    decisions: list[HumanDecision] = []
    for place, item in enumerate(body.input):
        kind = item.get("type", "message")
        if kind == "message":
            parts += _message_parts(item, place)
        elif kind == "mcp_approval_response":
            decisions.append(_approval(item, place))
        elif kind == "function_call_output":
            decisions.append(_answer(item, place))
        else:
            raise BadRequest(
                f"input.{place}: {str(kind)[:40]!r} is not supported; the run keeps the history: send new"
                " messages with previous_response_id"
            )
    return _checked(parts, decisions)


def _checked(parts: list[str | Media], decisions: list[HumanDecision]) -> UserInput:
    if parts and is_blank(parts):
        raise BadRequest("input: has no text")
    return UserInput(tuple(part for part in parts if part), tuple(decisions))


def _message_parts(item: dict[str, Any], place: int) -> list[str | Media]:
    role: Literal["user"] | Any = item.get("role")
    if role != "user":
        raise BadRequest(
            f"input.{place}.role: {str(role)[:40]!r} must be 'user'; the run keeps the history: send new"
            " messages with previous_response_id"
        )
    content = item.get("content")
    if isinstance(content, str):
        return [content]
    parts = content if isinstance(content, list) else [None]
    return [_part(part, f"input.{place}.content.{number}") for number, part in enumerate(parts)]


def _part(part: object, place: str) -> str | Media:
    """Return the text, the image or the file of a part. Raises `BadRequest`."""
    fields: dict[str, Any] = part if isinstance(part, dict) else {}
    kind = fields.get("type")
    if fields.get("file_id") is not None:
        raise BadRequest(f"{place}.file_id: is not supported; send the bytes or a URL")
    if kind == "input_image":
        return image_of(fields.get("image_url"), f"{place}.image_url")
    if kind == "input_file":
        name = "file_url" if fields.get("file_url") is not None else "file_data"
        filename = str(fields.get("filename") or "")
        media_type, _ = mimetypes.guess_type(filename)
        return file_of(fields.get(name), f"{place}.{name}", name=filename, media_type=media_type)
    if kind != "input_text":
        raise BadRequest(f"{place}: only input_text, input_image and input_file are supported")
    if not isinstance(fields.get("text"), str):
        raise BadRequest(f"{place}.text: must be text")
    return str(fields["text"])


def _approval(item: dict[str, Any], place: int) -> HumanDecision:
    identifier, approve = item.get("approval_request_id"), item.get("approve")
    if not isinstance(identifier, str) or not identifier.startswith(APPROVAL_PREFIX):
        raise BadRequest(f"input.{place}.approval_request_id: is not the id of an approval request")
    if not isinstance(approve, bool):
        raise BadRequest(f"input.{place}.approve: must be true or false")
    unknown = sorted(item.keys() - _APPROVAL_FIELDS)
    if unknown:  # such as other arguments, which the call would not have
        raise BadRequest(f"input.{place}: an approval has no field {unknown[0][:40]!r}")
    request_id, _, seen = identifier.removeprefix(APPROVAL_PREFIX).partition("_")
    fields: dict[str, Any] = {
        "request_id": request_id,
        "decision": "approve" if approve else "deny",
        "comment": item.get("reason") or "",
    }
    return validated(HumanDecision, {**fields, **({"arguments_hash": seen} if seen else {})})


def _answer(item: dict[str, Any], place: int) -> HumanDecision:
    """Return the answer to a question, which the response showed as a call of a function."""
    call_id, output = item.get("call_id"), item.get("output")
    if not isinstance(call_id, str) or not 0 < len(call_id) <= MAX_ID_CHARACTERS:
        raise BadRequest(f"input.{place}.call_id: is not the id of a question")
    if not isinstance(output, str):
        raise BadRequest(f"input.{place}.output: must be text: the answer as JSON")
    try:
        value = from_json(output)
    except ValueError:
        value = output
    return validated(HumanDecision, {"request_id": call_id, "decision": "answer", "answer": value})

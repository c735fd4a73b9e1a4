"""The body of `POST /v1/responses`: what a client of OpenAI may send, and what an agent does not take.

An agent has its own instructions, tools and type of answer, and the run keeps the history. So fields that
would replace them are rejected, and fields that change nothing here are ignored.
"""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from outlast.contracts.bounds import MAX_ID_CHARACTERS
from outlast.contracts.human import HumanDecision
from outlast.errors import BadRequest
from outlast.text.json_text import from_json
from outlast.validation import validated

APPROVAL_PREFIX = "mcpr_"
"""What the id of an approval request begins with; the id of the run's request follows."""

_AGENTS_OWN = {
    "instructions": "an agent has its own instructions",
    "tools": "an agent has its own tools",
    "tool_choice": "an agent chooses its tools",
    "conversation": "continue with previous_response_id",
    "prompt": "an agent has its own prompt",
}

_NEUTRAL: tuple[JsonValue, ...] = (None, [], "", "auto")
"""Values of those fields that ask for nothing."""


class ResponseBody(BaseModel):
    """The fields of a request that have a meaning here."""

    model_config = ConfigDict(extra="ignore", strict=True)

    model: str
    input: str | list[dict[str, Any]]
    previous_response_id: str | None = None
    stream: bool | None = None
    background: bool | None = None
    metadata: dict[str, str] | None = Field(default=None, max_length=16)


class UserInput(BaseModel):
    """What the client sends to the run: a message, decisions, or both."""

    text: str = ""
    decisions: list[HumanDecision] = []


def reject_fields(body: dict[str, Any], reasons: Mapping[str, str]) -> None:
    """Raise `BadRequest` for a field that would change the agent. `reasons` are by the names of fields."""
    for name, reason in reasons.items():
        if body.get(name) not in _NEUTRAL:
            raise BadRequest(f"{name}: is not supported: {reason}")


def read_body(body: dict[str, Any]) -> ResponseBody:
    """Return the checked body. Raises `BadRequest` for fields that would change the agent."""
    reject_fields(body, _AGENTS_OWN)
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
        return UserInput(text=body.input)
    texts: list[str] = []
    decisions: list[HumanDecision] = []
    for place, item in enumerate(body.input):
        kind = item.get("type", "message")
        if kind == "message":
            texts.append(_message_text(item, place))
        elif kind == "mcp_approval_response":
            decisions.append(_approval(item, place))
        elif kind == "function_call_output":
            decisions.append(_answer(item, place))
        else:
            raise BadRequest(
                f"input.{place}: {str(kind)[:40]!r} is not supported; the run keeps the history: send new"
                " messages with previous_response_id"
            )
    return UserInput(text="\n".join(texts), decisions=decisions)


def _message_text(item: dict[str, Any], place: int) -> str:
    role: Literal["user"] | Any = item.get("role")
    if role != "user":
        raise BadRequest(
            f"input.{place}.role: {str(role)[:40]!r} must be 'user'; the run keeps the history: send new"
            " messages with previous_response_id"
        )
    content = item.get("content")
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else [None]
    texts = [_part_text(part) for part in parts]
    if any(text is None for text in texts):
        raise BadRequest(f"input.{place}.content: only text is supported")
    return "\n".join(text for text in texts if text)


def _part_text(part: object) -> str | None:
    if not isinstance(part, dict) or part.get("type") != "input_text":
        return None
    text = part.get("text")
    return text if isinstance(text, str) else None


def _approval(item: dict[str, Any], place: int) -> HumanDecision:
    identifier, approve = item.get("approval_request_id"), item.get("approve")
    if not isinstance(identifier, str) or not identifier.startswith(APPROVAL_PREFIX):
        raise BadRequest(f"input.{place}.approval_request_id: is not the id of an approval request")
    if not isinstance(approve, bool):
        raise BadRequest(f"input.{place}.approve: must be true or false")
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

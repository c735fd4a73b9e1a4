"""A list of wrong entries costs one error: half a million of them took seconds of the event loop."""

from collections.abc import Callable
from typing import Any

import pytest
from outlast_workers.gateway.a2a.params import SendParams
from outlast_workers.gateway.agui_api import _body
from outlast_workers.gateway.ai_sdk.body import ChatBody, UIMessage
from outlast_workers.gateway.completions.body import read_completion
from outlast_workers.gateway.response_input import read_body
from outlast_workers.gateway.runs_api import StartBody
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from outlast.contracts.events import PushedPieces
from outlast.errors import BadRequest
from outlast.validation import validated


def of(model: type[BaseModel]) -> Callable[[dict[str, Any]], Any]:
    return lambda value: validated(model, value)


def agui(**fields: Any) -> dict[str, Any]:
    unused: dict[str, Any] = {"tools": [], "context": [], "state": {}, "forwardedProps": {}}
    return {"threadId": "t", "runId": "r", "messages": [], **unused, **fields}


LIST = [0] * 2_000
BODIES: dict[str, tuple[Callable[[dict[str, Any]], Any], dict[str, Any]]] = {
    "completions": (read_completion, {"model": "m", "messages": LIST}),
    "responses": (read_body, {"model": "m", "input": LIST}),
    "ai: messages": (of(ChatBody), {"id": "c", "messages": LIST}),
    "ai: parts": (of(UIMessage), {"role": "user", "parts": LIST}),
    "a2a": (
        of(SendParams),
        {"message": {"messageId": "1", "role": "ROLE_USER", "parts": LIST}},
    ),
    "runs": (of(StartBody), {"agent": "m", "input": "x", "media": LIST}),
    "hub": (of(PushedPieces), {"pieces": LIST}),
    "agui: messages": (_body, agui(messages=LIST)),
    "agui: resume": (_body, agui(resume=LIST)),
    "agui: resume, and one in a message": (
        _body,
        agui(resume=LIST, messages=[{"id": "1", "role": "user", "content": "x", "resume": []}]),
    ),
    "agui: content": (_body, agui(messages=[{"id": "1", "role": "user", "content": LIST}])),
}


@pytest.mark.parametrize("name", BODIES)
def test_a_list_of_wrong_entries_has_few_errors(name: str) -> None:
    read, body = BODIES[name]
    with pytest.raises((BadRequest, HTTPException)) as failure:
        read(body)
    assert "more" not in str(failure.value).replace("has more than 1,000 entries", "")


def test_what_agui_does_not_use_is_not_read() -> None:
    earlier = [{"id": "0", "role": "nobody"}] * 1_000
    last = {"id": "1", "role": "user", "content": "hi"}
    body = _body(agui(messages=[*earlier, last], tools=LIST, context=LIST, state=LIST))
    assert [message.id for message in body.messages] == ["1"]
    assert body.tools == []

"""Tasks of agents as a pipeline waits for them. Source: A2A 1.0, section 4.1."""

import hashlib

from pydantic import JsonValue

from outlast.contracts.a2a_calls import A2aMethod, AgentTask
from outlast.contracts.a2a_states import ENDED, INPUT_REQUIRED, STATES
from outlast.text.json_text import to_json
from outlast.text.texts import cut
from outlast_activities.a2a.failures import unreadable

MAX_STATUS_BYTES = 2_000
"""Bytes of what the status of a task says. It may become the question to a person."""

MAX_ID = 1_000
"""Characters of the id of a task or a context."""


def agent_task(result: JsonValue, method: A2aMethod) -> AgentTask:
    """Return how a message stands by the result of a call. Raises `HttpCallFailed`."""
    if method == "SendMessage":
        fields = result if isinstance(result, dict) else {}
        if isinstance(fields.get("message"), dict):
            return AgentTask(value=fields["message"])
        result = fields.get("task")
    task = result if isinstance(result, dict) else {}
    identifier, context = task.get("id"), task.get("contextId", "")
    status = task.get("status")
    state = status.get("state") if isinstance(status, dict) else None
    if not _is_id(identifier) or not isinstance(context, str) or len(context) > MAX_ID:
        raise unreadable("answered without a task and its id")
    if state not in STATES:
        raise unreadable(f"named the state {cut(repr(state), 60)}, which A2A 1.0 does not have")
    return AgentTask(
        id=str(identifier),
        context_id=context,
        state=str(state),
        text=_text(status),
        status_id=_status_id(status) if state == INPUT_REQUIRED else "",
        value=task if state in ENDED else None,
    )


def _is_id(value: JsonValue) -> bool:
    return isinstance(value, str) and 0 < len(value) <= MAX_ID


def _status_id(status: JsonValue) -> str:
    return hashlib.sha256(to_json(status).encode()).hexdigest()[:32]


def _text(status: JsonValue) -> str:
    """Return what a status says: its texts, or else its data as JSON."""
    message = status.get("message") if isinstance(status, dict) else None
    given = message.get("parts") if isinstance(message, dict) else None
    parts = [each for each in given if isinstance(each, dict)] if isinstance(given, list) else []
    texts = [part["text"] for part in parts if isinstance(part.get("text"), str)]
    lines = [str(text) for text in texts if text] or [
        to_json(part["data"]) for part in parts if "data" in part
    ]
    return cut("\n".join(lines), MAX_STATUS_BYTES)

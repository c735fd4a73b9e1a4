"""What a run passes with a tool call to the worker of the tool: headers, and metadata of the arguments."""

import json
from contextvars import ContextVar

from temporalio.api.common.v1 import Payload

UNDO_SUFFIX = ".undo"
VERIFY_SUFFIX = ".verify"
"""Suffixes that a companion tool's call adds to the id of the call that it belongs to."""

CALL_KEY: ContextVar[str] = ContextVar("idempotency_key", default="")
"""The idempotency key of the current call: the run sets it for the header, and the worker from it."""

CALL_TENANT: ContextVar[str] = ContextVar("tenant", default="")
"""The tenant of the current call, in the same way."""

CALL_PIN: ContextVar[str] = ContextVar("tool_pin", default="")
"""The `ToolSpec.pin` of the current call, in the same way."""

CHILD_KEY_BASE: ContextVar[str] = ContextVar("child_key_base", default="")
"""What begins the idempotency keys of the agent that a run is about to start as a child."""

CHILD_KEY_HEADER = "outlast-key-base"
"""The header of a child with that text. It is no field of the input, which an older worker would reject."""

CALL_HOOKS: ContextVar[str] = ContextVar("run_hooks", default="")
"""The names of the hooks of the run, with commas between them: a worker without one rejects the call."""

TEXT_HEADERS = {
    "outlast-hooks": CALL_HOOKS,
    "outlast-idempotency-key": CALL_KEY,
    "outlast-tenant": CALL_TENANT,
    "outlast-tool-pin": CALL_PIN,
}
"""The headers with text, and the variables that hold it in runs and in workers."""


INPUT_METADATA = "outlast-call-input"
"""Metadata of the arguments: the answers of people to the questions of an MCP server about the call, as
JSON. A payload codec encodes them with the payload, which it does not do with headers."""

CALL_INPUT: ContextVar[str] = ContextVar("call_input", default="")
"""These answers, in the worker of the tool."""


def root_call_id(call_id: str) -> str:
    """Return the id of the call that a companion's call belongs to, or the id itself."""
    return call_id.removesuffix(UNDO_SUFFIX).removesuffix(VERIFY_SUFFIX)


def text_payload(text: str) -> Payload:
    """Return text as the payload of a header."""
    return Payload(metadata={"encoding": b"json/plain"}, data=json.dumps(text).encode())


def text_of(payload: Payload | None) -> str:
    """Return the text of a header, or an empty text if it is missing or cannot be read."""
    try:
        text = json.loads(payload.data) if payload is not None else ""
    except ValueError:
        return ""
    return text if isinstance(text, str) else ""

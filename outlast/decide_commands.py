"""Commands that decide a request, in `outlast` and in the `temporal` CLI, and the id of the update."""

import hashlib
import json
from collections.abc import Mapping

from pydantic import JsonValue

from outlast.contracts.human import PendingRequest
from outlast.text.safe_text import json_text, shell_word


def decide_payload(request: PendingRequest, decision: str, *, by: str = "you") -> str:
    """Return the JSON that decides a request; it contains the hash of the shown arguments."""
    return json.dumps(_fields(request, decision, by), separators=(",", ":"))


def decide_update_id(payload: Mapping[str, JsonValue], request: PendingRequest) -> str:
    """Return the id of the update that sends a decision: one id for the same decision.

    The server answers a repeated id with the first result. So a decision that is sent many times uses one
    of the updates that a run may accept. `request` is the request just now: a vote that was voided since,
    by an edit or an escalation, gets another id and is checked again.
    """
    text = json.dumps([payload, request.model_dump(mode="json")], sort_keys=True, default=str)
    return f"decide-{hashlib.sha256(text.encode()).hexdigest()[:32]}"


def outlast_command(
    workflow_id: str, request: PendingRequest, decision: str, *, separator: str = " "
) -> str:
    """Return the command of `outlast` that decides what was shown; `separator` may break its line."""
    words = " ".join(map(shell_word, ("outlast", decision, workflow_id, request.request_id)))
    more = {"edit": " --arguments JSON", "answer": " ANSWER"}.get(decision, "")
    shown = (
        f"{separator}--hash {shell_word(request.arguments_hash)}" if request.arguments_hash else ""
    )
    key = " --key FILE" if request.signers else ""
    return f"{words}{more}{shown}{key}"


def decide_command(workflow_id: str, request: PendingRequest, decision: str) -> str:
    """Return the command that decides a request: of `temporal`, or of `outlast` if it needs a signature.

    Its lines are short, because the Temporal UI cuts off long ones.
    """
    if request.signers:
        return outlast_command(workflow_id, request, decision)
    fields = _fields(request, decision, "you")
    payload = ",\n ".join(f"{_json_of(name)}:{_json_of(value)}" for name, value in fields.items())
    return (
        f"temporal workflow update execute --name decide \\\n"
        f" --workflow-id {shell_word(workflow_id)} --input \\\n '{{{payload}}}'"
    )


def decisions_on(request: PendingRequest) -> tuple[str, ...]:
    """Return the decisions that a request offers, the positive one first."""
    return ("answer", "deny") if request.kind == "question" else ("approve", "deny")


def _fields(request: PendingRequest, decision: str, by: str) -> dict[str, JsonValue]:
    fields: dict[str, JsonValue] = {"request_id": request.request_id, "decision": decision}
    if decision == "edit":
        fields["arguments"] = request.arguments
    if decision == "answer":
        fields["answer"] = "…"
    return fields | {"arguments_hash": request.arguments_hash, "by": by}


def _json_of(value: JsonValue) -> str:
    """Return JSON that stays one word between single quotes of a shell."""
    return json_text(value).replace("'", "\\u0027").replace("`", "\\u0060")

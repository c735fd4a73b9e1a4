"""Commands of the `temporal` CLI that decide a request."""

import json
import shlex

from pydantic import JsonValue

from outlast.contracts.human import PendingRequest


def decide_payload(request: PendingRequest, decision: str, *, by: str = "you") -> str:
    """Return the JSON that decides a request; it contains the hash of the shown arguments."""
    payload: dict[str, JsonValue] = {"request_id": request.request_id, "decision": decision}
    if decision == "edit":
        payload["arguments"] = request.arguments
    if decision == "answer":
        payload["answer"] = "…"
    payload |= {"arguments_hash": request.arguments_hash, "by": by}
    return json.dumps(payload, separators=(",", ":"), ensure_ascii=False)


def decide_command(workflow_id: str, request: PendingRequest, decision: str) -> str:
    """Return the command that decides a request: of `temporal`, or of `outlast` if it needs a signature."""
    if request.signers:
        words = ["outlast", decision, workflow_id, request.request_id]
        more = {"edit": " --arguments JSON", "answer": " ANSWER"}.get(decision, "")
        return f"{shlex.join(words)}{more} --key FILE"
    payload = decide_payload(request, decision)
    return (
        f"temporal workflow update execute --workflow-id {shlex.quote(workflow_id)} --name decide \\\n"
        f"    --input {shlex.quote(payload)}"
    )


def decisions_on(request: PendingRequest) -> tuple[str, ...]:
    """Return the decisions that a request offers, the positive one first."""
    return ("answer", "deny") if request.kind == "question" else ("approve", "deny")

"""What people see of a run in the stock UI: summaries, live details and the commands to copy."""

import json

from pydantic import JsonValue

from outlast.contracts.human import PendingRequest
from outlast.contracts.messages import ToolCall
from outlast.contracts.results import Progress
from outlast.decide_commands import decide_command, decisions_on
from outlast.texts import call_text

MAX_SUMMARY_BYTES = 120
"""A summary is one line of the UI's timeline, and history that every step pays for."""

MAX_ARGUMENTS = 4_000
"""Characters of arguments in live details: what a person approves is shown, not hinted at."""


def call_summary(call: ToolCall) -> str:
    """Return a call as one would write it: `refund(order_id=42)`."""
    return call_text(call.tool, call.arguments, MAX_SUMMARY_BYTES)


def details(progress: Progress, workflow_id: str) -> str:
    """Return the live details of a run in Markdown."""
    usage = progress.usage
    used = f"{usage.tokens:,} tokens · ${usage.cost_usd:.4f}"
    lines = [
        f"**{progress.status}**: {progress.doing}",
        "",
        f"turn {progress.turn} of {progress.max_turns} · {progress.tool_calls} tool calls · {used}",
    ]
    for request in progress.pending:
        lines += ["", *_request_lines(request, workflow_id)]
    return "\n".join(lines)


def _request_lines(request: PendingRequest, workflow_id: str) -> list[str]:
    return [
        f"### {request.audience}: " + _asked(request),
        *_what_is_shown(request),
        f"{_standing(request)}Expires at {request.expires_at:%Y-%m-%d %H:%M} UTC. Answer with",
        "```sh",
        *(decide_command(workflow_id, request, decision) for decision in decisions_on(request)),
        "```",
    ]


def _asked(request: PendingRequest) -> str:
    return "a question" if request.kind == "question" else f"approve this call of {request.tool}?"


def _what_is_shown(request: PendingRequest) -> list[str]:
    if request.kind != "question":
        return ["```json", _shown(request.arguments), "```"]
    quoted = [f"> {line}" for line in (request.question or "").splitlines()]
    return [*quoted, "", "```json", _shown({"answer": request.answer_schema}), "```"]


def pause_text(by: str, reason: str) -> str:
    """Return who paused a run, and why."""
    return f"paused by {_plain(by) or 'somebody'} {_plain(reason)}".strip()


def _plain(text: str) -> str:
    """Return what a person typed as words that Markdown makes nothing of."""
    words = "".join(letter for letter in text if letter not in "`*_[]<>#|")
    return " ".join(words.split())


def _standing(request: PendingRequest) -> str:
    """Return how far a quorum has come, and who changed what is asked."""
    edited = f"Edited by {_plain(request.edited_by)}. " if request.edited_by else ""
    if request.quorum == 1:
        return edited
    names = ", ".join(map(_plain, request.approved_by)) or "nobody yet"
    return f"{edited}Approved by {names}; {request.quorum} have to. "


def _shown(arguments: dict[str, JsonValue]) -> str:
    """Return arguments as JSON that cannot end the block that it stands in."""
    text = json.dumps(arguments, indent=1, ensure_ascii=False).replace("`", "\\u0060")
    if len(text) <= MAX_ARGUMENTS:
        return text
    return f"{text[:MAX_ARGUMENTS]}\n… cut: the query pending_requests has all of it"

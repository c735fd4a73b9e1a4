"""Texts of the Temporal UI about a run: summaries, live details and the commands to copy."""

import json

from pydantic import JsonValue

from outlast.contracts.human import PendingRequest
from outlast.contracts.messages import ToolCall
from outlast.contracts.results import Progress
from outlast.decide_commands import decide_command, decisions_on
from outlast.texts import call_text

MAX_SUMMARY_BYTES = 120
"""A summary is one line in the UI's timeline, and part of the history of every step."""

MAX_ARGUMENTS = 4_000
"""Characters of arguments in live details. A person sees what they approve."""


def call_summary(call: ToolCall) -> str:
    """Return a call as a person would write it: `refund(order_id=42)`."""
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
        f"### {request.audience}: " + _request_title(request),
        *_request_body(request),
        f"{_votes_text(request)}Expires at {request.expires_at:%Y-%m-%d %H:%M} UTC. Answer with",
        "```sh",
        *(decide_command(workflow_id, request, decision) for decision in decisions_on(request)),
        "```",
    ]


def _request_title(request: PendingRequest) -> str:
    return "a question" if request.kind == "question" else f"approve this call of {request.tool}?"


def _request_body(request: PendingRequest) -> list[str]:
    if request.kind != "question":
        return ["```json", _json_block(request.arguments), "```"]
    quoted = [f"> {line}" for line in (request.question or "").splitlines()]
    return [*quoted, "", "```json", _json_block({"answer": request.answer_schema}), "```"]


def pause_text(by: str, reason: str) -> str:
    """Return who paused a run, and why."""
    return f"paused by {_without_markdown(by) or 'somebody'} {_without_markdown(reason)}".strip()


def _without_markdown(text: str) -> str:
    """Return the words of a person without the characters of Markdown."""
    words = "".join(letter for letter in text if letter not in "`*_[]<>#|")
    return " ".join(words.split())


def _votes_text(request: PendingRequest) -> str:
    """Return who has approved so far, and who edited the arguments."""
    edited = f"Edited by {_without_markdown(request.edited_by)}. " if request.edited_by else ""
    if request.quorum == 1:
        return edited
    names = ", ".join(map(_without_markdown, request.approved_by)) or "nobody yet"
    return f"{edited}Approved by {names}; {request.quorum} are needed. "


def _json_block(arguments: dict[str, JsonValue]) -> str:
    """Return arguments as JSON that cannot end the Markdown block around it."""
    text = json.dumps(arguments, indent=1, ensure_ascii=False).replace("`", "\\u0060")
    if len(text) <= MAX_ARGUMENTS:
        return text
    return f"{text[:MAX_ARGUMENTS]}\n… cut: the query pending_requests returns all of it"

"""Texts of the Temporal UI about a run: summaries, current details and the commands to copy.

Everything in them that a model, a user, a tool or a starter wrote goes through `outlast.text.safe_text`.
"""

import json
from collections.abc import Sequence

from outlast.contracts.human import PendingRequest
from outlast.contracts.media import with_labels
from outlast.contracts.messages import Message, ToolCall
from outlast.contracts.notices import NotifyInput
from outlast.contracts.results import Progress
from outlast.decide_commands import decide_command, decisions_on, outlast_command
from outlast.text.safe_text import (
    code_block,
    code_span,
    json_text,
    summary_line,
    visible,
    visible_line,
)
from outlast.text.texts import call_text

MAX_SUMMARY_BYTES = 120
"""A summary is one line in the UI's timeline, and part of the history of every step."""

MAX_TIMER_BYTES = 200
"""The summary of a timer that waits for a person. The server accepts 400 bytes."""

MAX_AUDIENCE_BYTES = 60
"""An audience in a summary."""

MAX_ARGUMENTS = 4_000
"""Characters of arguments or of an answer in the details. A person sees what they approve."""

MAX_EXCHANGE = 6
"""Messages of a conversation in the details."""

MAX_EXCHANGE_BYTES = 300
"""Each message of a conversation in the details."""

MAX_WHY_BYTES = 800
"""The user's message, or a description of a tool, in the details of a request."""


def call_summary(call: ToolCall) -> str:
    """Return a call as a person would write it: `refund(order_id=42)`."""
    arguments = {
        name: with_labels(value) if isinstance(value, str) else value
        for name, value in call.arguments.items()
    }
    return summary_line(call_text(call.tool, arguments, MAX_SUMMARY_BYTES), MAX_SUMMARY_BYTES)


def timer_summary(request: PendingRequest, outcome: str) -> str:
    """Return the summary of a timer of a request: who must decide about what, and what happens then."""
    audience = summary_line(visible_line(request.audience), MAX_AUDIENCE_BYTES)
    if request.kind == "question":
        subject = summary_line(visible_line(request.question or ""), MAX_SUMMARY_BYTES)
    else:
        call = ToolCall(tool=request.tool, arguments=request.arguments)
        subject = f"{call_summary(call)}?"
    return summary_line(f"{audience}: {subject} {outcome}", MAX_TIMER_BYTES)


def notice_summary(notice: NotifyInput) -> str:
    """Return the summary of the activity that sends a notice."""
    audience = summary_line(visible_line(notice.audience), MAX_AUDIENCE_BYTES)
    return f"notifies {audience} of {notice.request_id}"


def details(progress: Progress, workflow_id: str, messages: Sequence[Message] = ()) -> str:
    """Return the current details of a run in Markdown; `messages` are the last ones of a conversation."""
    usage = progress.usage
    used = f"{usage.tokens:,} tokens · ${usage.cost_usd:.4f}"
    turn = f"turn {progress.turn} of {progress.max_turns} · {progress.tool_calls} tool calls"
    lines = [
        f"**{progress.status}**: {code_span(progress.doing)}",
        "",
        f"agent {code_span(visible_line(progress.agent))} · {turn} · {used}",
    ]
    for warning in progress.warnings:
        lines += ["", f"**warning**: {code_span(visible_line(warning))}"]
    for request in progress.pending:
        lines += ["", *request_lines(request, workflow_id)]
    if len(messages) == 1 and messages[0].role == "assistant":
        lines += ["", "### Answer", *_answer_block(messages[0])]
    elif messages:
        lines += ["", f"### The last {len(messages)} messages"]
        lines += code_block("\n".join(map(_exchange_line, messages)), most=MAX_ARGUMENTS)
    return "\n".join(lines)


def last_messages(messages: Sequence[Message], *, is_conversation: bool) -> list[Message]:
    """Return the messages that the details show: the answer of a task, or the end of a conversation."""
    shown = [message for message in messages[-4 * MAX_EXCHANGE :] if _is_shown(message)]
    if is_conversation:
        return shown[-MAX_EXCHANGE:]
    return [message for message in shown[-1:] if message.role == "assistant"]


def _is_shown(message: Message) -> bool:
    return message.role == "user" or (
        message.role == "assistant" and "answer" in _decision(message)
    )


def _decision(message: Message) -> dict[str, object]:
    try:
        decision = json.loads(message.content or "{}")
    except (ValueError, RecursionError):
        return {}
    return decision if isinstance(decision, dict) else {}


def _exchange_line(message: Message) -> str:
    if message.role == "user":
        return f"user:  {visible_line(with_labels(message.content or ''), MAX_EXCHANGE_BYTES)}"
    answer = _decision(message)["answer"]
    text = answer if isinstance(answer, str) else json_text(answer, most=MAX_EXCHANGE_BYTES)  # type: ignore[arg-type]  # JSON
    return f"agent: {visible_line(with_labels(text), MAX_EXCHANGE_BYTES)}"


def _answer_block(message: Message) -> list[str]:
    answer = _decision(message)["answer"]
    if isinstance(answer, str):
        return code_block(visible(with_labels(answer[:MAX_ARGUMENTS])), most=MAX_ARGUMENTS)
    return code_block(json_text(answer, indent=1, most=MAX_ARGUMENTS), "json", most=MAX_ARGUMENTS)  # type: ignore[arg-type]  # JSON


def request_lines(request: PendingRequest, workflow_id: str) -> list[str]:
    """Return a request in Markdown, with the commands that decide it."""
    decisions = decisions_on(request)
    short = [
        outlast_command(workflow_id, request, decision, separator=" \\\n    ")
        for decision in decisions
    ]
    long = [decide_command(workflow_id, request, decision) for decision in decisions]
    command_lines = code_block("\n".join(short), "sh", most=MAX_ARGUMENTS)
    if not request.signers:
        command_lines += ["or", *code_block("\n".join(long), "sh", most=MAX_ARGUMENTS)]
    return [
        _request_title(request),
        *_request_body(request),
        *_why_lines(request),
        f"{_votes_text(request)}Expires at {request.expires_at:%Y-%m-%d %H:%M} UTC. Decide with",
        *command_lines,
    ]


def _request_title(request: PendingRequest) -> str:
    audience = code_span(visible_line(request.audience))
    if request.kind == "question":
        return f"### A question for {audience}"
    return f"### {audience}: approve {code_span(visible_line(request.tool))}?"


def _request_body(request: PendingRequest) -> list[str]:
    if request.kind != "question":
        return code_block(
            json_text(request.arguments, indent=1, most=MAX_ARGUMENTS), "json", most=MAX_ARGUMENTS
        )
    schema = json_text({"answer": request.answer_schema}, indent=1, most=MAX_ARGUMENTS)
    return [
        *code_block(visible((request.question or "")[:MAX_ARGUMENTS]), most=MAX_ARGUMENTS),
        *code_block(schema, "json", most=MAX_ARGUMENTS),
    ]


def _why_lines(request: PendingRequest) -> list[str]:
    """Return what the tool does, and the message that the run answers."""
    lines: list[str] = []
    if request.kind == "approval" and request.tool_description:
        described = code_span(visible_line(request.tool_description, MAX_WHY_BYTES))
        lines += ["", f"What it does: {described} (effect: {request.effect or 'unknown'})"]
    if request.user_message:
        lines += [
            "",
            f"The user wrote: {code_span(visible_line(with_labels(request.user_message), MAX_WHY_BYTES))}",
        ]
    return [*lines, ""] if lines else []


def pause_text(by: str, reason: str) -> str:
    """Return who paused a run, and why."""
    return f"paused by {visible_line(by) or 'somebody'} {visible_line(reason)}".strip()


def _votes_text(request: PendingRequest) -> str:
    """Return who has approved so far, and who edited the arguments."""
    edited = f"Edited by {_name(request.edited_by)}. " if request.edited_by else ""
    if request.quorum == 1:
        return edited
    names = ", ".join(map(_name, request.approved_by)) or "nobody yet"
    return f"{edited}Approved by {names}; {request.quorum} are needed. "


def _name(person: str) -> str:
    return code_span(visible_line(person))

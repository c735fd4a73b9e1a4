"""What a run waits for: a person, a worker, the next message, or the end of a pause."""

from typing import TYPE_CHECKING, Literal

from outlast.contracts.base import OutputModel
from outlast.contracts.human import PendingRequest
from outlast.text.safe_text import json_text, shell_word, visible_line
from outlast.text.texts import call_text, cut

if TYPE_CHECKING:
    from outlast.contracts.results import AgentStatus, Progress

WAITING_STATUSES: tuple["AgentStatus", ...] = ("waiting_for_human", "waiting_for_message")
"""Statuses of a conversation that waits for a message, if no request is pending. Older builds use the
first one."""

MAX_ASKED_BYTES = 200
"""A call or a question in one line. `outlast approve` shows it in full."""


class Waiting(OutputModel):
    """An entry of `Run.stream` that says what a run waits for; it is not part of the transcript.

    `content` is one line for people. `request` is the pending request if the run waits for a person, and
    `called_run` the id of the run of an agent that it has called.
    """

    role: Literal["waiting"] = "waiting"
    content: str
    request: PendingRequest | None = None
    called_run: str | None = None


def waiting_entries(progress: "Progress", run_id: str) -> list[Waiting]:
    """Return what a run waits for: its pending requests, or else its pause, message or worker."""
    if progress.pending:
        return [
            Waiting(content=request_text(request, run_id), request=request)
            for request in progress.pending
        ]
    if progress.status == "paused":
        return [Waiting(content=f"{progress.doing}: `resume` continues it")]
    if progress.status in WAITING_STATUSES or "waits for" in progress.doing:
        return [Waiting(content=progress.doing)]
    return []


def request_text(request: PendingRequest, run_id: str) -> str:
    """Return a request and the command that decides it, in one line."""
    verb = "answer" if request.kind == "question" else "approve"
    return f"{request_summary(request)}: {decide_command_line(request, run_id, verb)}"


def request_summary(request: PendingRequest) -> str:
    """Return who must decide a request, and what it is about."""
    if request.kind == "question":
        question = cut(request.question or "", MAX_ASKED_BYTES)
        return f"{visible_line(request.audience)} must answer {json_text(question)}"
    call = call_text(request.tool, request.arguments, MAX_ASKED_BYTES)
    votes = f" ({len(request.approved_by)} of {request.quorum})" if request.quorum > 1 else ""
    return f"{visible_line(request.audience)} must approve {call}{votes}"


def decide_command_line(request: PendingRequest, run_id: str, verb: str) -> str:
    """Return the `outlast` command that decides a request."""
    answer = " ANSWER" if verb == "answer" else ""
    key = " --key FILE" if request.signers else ""
    return f"outlast {verb} {shell_word(run_id)} {shell_word(request.request_id)}{answer}{key}"

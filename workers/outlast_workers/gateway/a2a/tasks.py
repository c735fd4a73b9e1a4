"""Tasks of A2A, read from the transcripts of runs.

A context is a conversation, which is one run. A message without a task begins one, which ends with the next
answer. The id of the first task is the workflow id. The id of a later one is that of the response in `/v1`:
the workflow id, and the entry at which it begins.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from outlast.client.runs import Run
from outlast.client.waiting import request_summary
from outlast.contracts.human import PendingRequest
from outlast.contracts.media import with_labels
from outlast.contracts.messages import Message
from outlast.errors import RunFailed, Unavailable
from outlast_workers.gateway.conversations import transcript_of
from outlast_workers.gateway.response_ids import is_response_id, read_response_id, response_id
from outlast_workers.gateway.run_events import EventReader, RunEvent
from outlast_workers.gateway.token_usage import AnswerUsage, a2a_usage

ANSWER = "answer"
"""The id of the artifact of a task."""

Json = dict[str, Any]


@dataclass(frozen=True)
class TaskId:
    """A run, and the entry of its transcript at which the task begins."""

    run_id: str
    since: int = 0

    @classmethod
    def read(cls, text: str) -> "TaskId":
        """Return the task that an id names. Raises `RunNotFound` for an id of another form."""
        return cls(*read_response_id(text)) if is_response_id(text) else cls(text)

    def __str__(self) -> str:
        return response_id(self.run_id, self.since) if self.since else self.run_id

    @property
    def context(self) -> str:
        """The id of the context: the key of the run."""
        return self.run_id.rpartition("/")[2]


async def read_task(run: Run, task: TaskId, *, is_running: bool) -> Json:
    """Return a task as it is now."""
    entries = await transcript_of(run)
    events = _events(entries, task.since)
    answer = next((event for event in events if event.type == "answer"), None)
    usage = AnswerUsage()
    for event in events:
        if event.type == "usage":
            usage.add(event)
    status: Json
    if answer is not None:
        status = {"state": "TASK_STATE_COMPLETED"}
    elif is_running:
        status = await _open_status(run, task, has_begun=bool(entries))
    else:
        status = await _last_status(run, task)
    artifacts = [] if answer is None else [artifact(answer.data["answer"])]
    return {
        "id": str(task),
        "contextId": task.context,
        "status": status,
        "artifacts": artifacts,
        "history": _history(events, task),
        "metadata": a2a_usage(usage.total),
    }


def begun_task(task: TaskId, *, is_new: bool) -> Json:
    """Return a task as it is when a message has been sent to it."""
    status = {"state": "TASK_STATE_SUBMITTED" if is_new else "TASK_STATE_WORKING"}
    names = {"id": str(task), "contextId": task.context}
    return {**names, "status": status, "artifacts": [], "history": [], "metadata": {}}


def _events(entries: Sequence[Message], since: int) -> list[RunEvent]:
    """Return the events of a task: up to its answer."""
    reader, found = EventReader(), []
    for event in (event for entry in entries for event in reader.read(entry)):
        if event.is_news(since):
            found.append(event)
            if event.type == "answer":
                break
    return found


async def _open_status(run: Run, task: TaskId, *, has_begun: bool) -> Json:
    try:
        pending = await run.pending_requests()
    except Unavailable:
        pending = []
    if pending:
        return input_required(task, pending)
    return {"state": "TASK_STATE_WORKING" if has_begun else "TASK_STATE_SUBMITTED"}


async def _last_status(run: Run, task: TaskId) -> Json:
    """Return the status of a task without an answer, whose run has ended."""
    try:
        result = await run.result()
    except RunFailed as failed:
        return {
            "state": "TASK_STATE_FAILED",
            "message": agent_message(task, [_text(failed.message)]),
        }
    if result.stop_reason == "cancelled":
        return {"state": "TASK_STATE_CANCELED"}
    reason = f"the run stopped: {result.stop_reason}" if result.stop_reason else "the run has ended"
    return {"state": "TASK_STATE_FAILED", "message": agent_message(task, [_text(reason)])}


def input_required(task: TaskId, pending: Sequence[PendingRequest]) -> Json:
    """Return the status of a task that waits for people: a text and the data of each request."""
    parts: list[Json] = []
    for request in pending:
        text = request.question if request.kind == "question" else request_summary(request)
        parts += [_text(text or ""), {"data": request.model_dump(mode="json")}]
    return {"state": "TASK_STATE_INPUT_REQUIRED", "message": agent_message(task, parts)}


def artifact(answer: Any) -> Json:
    """Return an answer as the artifact of a task."""
    part = (
        _text(answer)
        if isinstance(answer, str)
        else {"data": answer, "mediaType": "application/json"}
    )
    return {"artifactId": ANSWER, "parts": [part]}


def agent_message(task: TaskId, parts: Sequence[Json], position: int = 0) -> Json:
    """Return a message of the agent."""
    return _message(task, "ROLE_AGENT", parts, position or "status")


def _history(events: Sequence[RunEvent], task: TaskId) -> list[Json]:
    messages = []
    for event in events:
        if event.type == "message":
            text = _text(with_labels(str(event.data["text"])))
            messages.append(_message(task, "ROLE_USER", [text], event.position))
        elif event.type == "answer":
            parts = artifact(event.data["answer"])["parts"]
            messages.append(agent_message(task, parts, event.position))
    return messages


def _message(task: TaskId, role: str, parts: Sequence[Json], position: int | str) -> Json:
    return {
        "messageId": f"{task.context}-{position}",
        "role": role,
        "parts": list(parts),
        "taskId": str(task),
        "contextId": task.context,
    }


def _text(text: str) -> Json:
    return {"text": text, "mediaType": "text/plain"}


def shown(task: Json, history_length: int | None, *, has_artifacts: bool = True) -> Json:
    """Return a task with as much of its history as a client wants."""
    task = dict(task)
    history, metadata = task.pop("history"), task.pop("metadata")
    if history_length is not None:
        history = history[-history_length:] if history_length else []
    if history:
        task["history"] = history
    if metadata:
        task["metadata"] = metadata
    if not has_artifacts or not task["artifacts"]:
        task.pop("artifacts")
    return task

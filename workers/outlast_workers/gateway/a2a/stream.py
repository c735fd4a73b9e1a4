"""The updates of one task, written from the events of its run."""

from collections.abc import Iterator
from typing import Any

from outlast_workers.gateway.a2a.tasks import ANSWER, Json, TaskId, artifact
from outlast_workers.gateway.run_events import RunEvent

_OF_WORK = frozenset({"message", "turn", "text", "tool_call", "request_settled"})
"""Events after which a task works, until it waits or ends."""


class TaskStream:
    """Turns the events of one task into updates. The text of an answer grows in one artifact."""

    def __init__(self, task: TaskId) -> None:
        self._names = {"taskId": str(task), "contextId": task.context}
        self._is_working = False
        self._has_text = False

    def read(self, event: RunEvent) -> Iterator[Json]:
        """Yield the updates of one event."""
        data: dict[str, Any] = event.data
        if not self._is_working and event.type in _OF_WORK:
            self._is_working = True
            yield self.status({"state": "TASK_STATE_WORKING"})
        if event.type == "text":
            text = {"text": data["text"], "mediaType": "text/plain"}
            content = {"artifactId": ANSWER, "parts": [text]}
            yield self._artifact(content, append=self._has_text)
            self._has_text = True
        elif event.type == "text_reset":
            self._has_text = False
        elif event.type == "answer":
            # The whole answer replaces its pieces.
            yield self._artifact(artifact(data["answer"]), append=False, lastChunk=True)

    def waiting(self, status: Json) -> Json:
        """Return the status of a task that waits for people as an update. Later it works again."""
        self._is_working = False
        return self.status(status)

    def status(self, status: Json, metadata: Json | None = None) -> Json:
        """Return a status as an update."""
        more = {"metadata": metadata} if metadata else {}
        return {"statusUpdate": {**self._names, "status": status, **more}}

    def _artifact(self, content: Json, **fields: bool) -> Json:
        return {"artifactUpdate": {**self._names, "artifact": content, **fields}}

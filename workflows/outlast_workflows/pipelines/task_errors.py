"""Errors of tasks while a pipeline runs, in the form that the DSL defines (RFC 7807)."""

from pydantic import JsonValue

from outlast.pipelines.errors import RUNTIME
from outlast.text.texts import cut

MAX_DETAIL_BYTES = 2_000
"""Bytes of the detail of an error."""


class TaskError(Exception):
    """Raised by a task. A `try` around it may catch it; otherwise the pipeline fails."""

    def __init__(
        self,
        title: str,
        *,
        type: str = RUNTIME,  # noqa: A002 the word of the DSL
        status: int = 500,
        detail: str = "",
        instance: str = "",
    ) -> None:
        super().__init__(title)
        self.type = type
        self.status = status
        self.title = title
        self.detail = cut(detail, MAX_DETAIL_BYTES)
        self.instance = instance

    def at(self, place: str) -> "TaskError":
        """Return the error with the place of its task, unless it has one."""
        self.instance = self.instance or place
        return self

    def as_json(self) -> dict[str, JsonValue]:
        """Return the error as data of the pipeline."""
        error: dict[str, JsonValue] = {
            "type": self.type,
            "status": self.status,
            "title": self.title,
            "instance": self.instance,
        }
        return error | ({"detail": self.detail} if self.detail else {})

    def line(self) -> str:
        """Return the error in one line, for people."""
        detail = f": {self.detail}" if self.detail else ""
        return f"{self.instance}: {self.title}{detail} (status {self.status}, {self.type})"


class PipelineEnded(Exception):
    """Raised by a task with `then: end`, with the output of the pipeline."""

    def __init__(self, output: JsonValue) -> None:
        super().__init__()
        self.output = output

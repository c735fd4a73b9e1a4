"""The text of a completion, written from the events of a run.

A client adds up what it gets, and nothing can be taken back. So a text that begins anew is compared with
what the client has: it gets the rest of an equal one, and another one as a new paragraph.
"""

from collections.abc import Iterator
from typing import Any

from outlast.client.waiting import request_text
from outlast.contracts.human import PendingRequest
from outlast_workers.gateway.agui_messages import answer_text
from outlast_workers.gateway.run_events import RunEvent
from outlast_workers.gateway.token_usage import AnswerUsage

PARAGRAPH = "\n\n"


class DeltaWriter:
    """Turns the events of one answer into pieces of text."""

    def __init__(self, run_id: str) -> None:
        self._run_id = run_id
        self._gap = ""
        """What separates the next text from the one before."""
        self._shown = ""
        """The open text, as the client has it."""
        self._held: str | None = None
        """The text that has begun anew, as long as it equals the beginning of what the client has."""
        self.is_stopped = False
        """Whether the run ended without an answer."""
        self.usage = AnswerUsage()

    def read(self, event: RunEvent) -> Iterator[str]:
        """Yield the pieces of one event."""
        data: dict[str, Any] = event.data
        if event.type == "text":
            yield from self._add(data["text"])
        elif event.type == "usage":
            self.usage.add(event)
        elif event.type == "text_reset":
            self._held = ""
        elif event.type == "answer":
            yield from self._end(answer_text(data["answer"]))
        elif event.type == "request_opened":
            request = PendingRequest.model_validate(data["request"])
            yield from self._paragraph(f"Waiting: {request_text(request, self._run_id)}")
        elif event.type == "run_ended" and data["status"] == "stopped":
            self.is_stopped = True
            yield from self._paragraph(f"The run stopped: {data['stop_reason']}.")

    def _add(self, text: str) -> Iterator[str]:
        if self._held is None:
            self._shown += text
            if text:
                yield self._gap + text
                self._gap = ""
            return
        self._held += text
        if self._shown.startswith(self._held):
            return
        new, self._held = self._held, None
        yield new[len(self._shown) :] if new.startswith(self._shown) else PARAGRAPH + new
        self._shown = new

    def _end(self, text: str) -> Iterator[str]:
        """Yield what the client lacks of an answer, whose beginning is the open text."""
        open_text = self._shown if self._held is None else self._held
        if open_text != text:
            yield from self._add(text[len(open_text) :])
        if self._held is not None and self._held != self._shown:
            yield PARAGRAPH + text  # the client has a longer text
        self._shown, self._held, self._gap = "", None, PARAGRAPH

    def _paragraph(self, text: str) -> Iterator[str]:
        yield f"{PARAGRAPH if self._shown else self._gap}{text}"
        self._shown, self._held, self._gap = "", None, PARAGRAPH

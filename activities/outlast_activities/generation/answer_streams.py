"""Where a model call sends the text of its answer, while the model writes it."""

from typing import Protocol

from temporalio import activity

from outlast.contracts.generation import GenerateInput
from outlast.model_server import OnText

ATTEMPT_STEP = 1_000
"""More prompts than one attempt of an activity sends."""

MILLISECONDS = 1_000


class AnswerStream(Protocol):
    """Takes the text of one answer. Its methods never wait and never fail."""

    def add(self, text: str) -> None:
        """Add a piece. An empty one shows that the model thinks."""
        ...

    def end(self) -> None:
        """End the answer. Its text so far is still sent."""
        ...


class AnswerStreams(Protocol):
    """Opens the streams of a worker."""

    def open(self, workflow_id: str, *, entry: int, turn: int, attempt: int) -> AnswerStream:
        """Begin an answer, which replaces all earlier ones of the run."""
        ...


class CallStreams:
    """The streams of one model call: one for the answer to each prompt.

    The number of an attempt begins with the time at which the server scheduled the activity's attempt. So
    a later attempt has a greater one, also on another worker or leg, or after a worker was cut off.
    """

    def __init__(self, streams: AnswerStreams, wanted: GenerateInput) -> None:
        self._streams = streams
        self._wanted = wanted
        self._last: AnswerStream | None = None

    def begin(self, number: int) -> OnText:
        """Begin the answer to the prompt with a number. Return what takes its text."""
        info = activity.info()
        scheduled_ms = int(info.current_attempt_scheduled_time.timestamp() * MILLISECONDS)
        self._last = self._streams.open(
            info.workflow_id or "",
            entry=self._wanted.length,
            turn=self._wanted.turn,
            attempt=scheduled_ms * ATTEMPT_STEP + min(number, ATTEMPT_STEP - 1),
        )
        return self._last.add

    def end(self) -> None:
        """End the last answer."""
        if self._last is not None:
            self._last.end()

"""The hub: the answers that models write now, as workers push them. It is memory, and may be lost."""

import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from outlast.contracts.events import MAX_ANSWER_CHARACTERS, AnswerPiece

MAX_ANSWERS = 10_000
"""Answers in memory. With more, the one without a piece for the longest time leaves."""

MAX_CHARACTERS = 50_000_000
"""Characters of all answers in memory."""

KEEP_ANSWER_S = 600.0
"""Seconds for which an answer stays after its last piece. Its entry is in the transcript by then."""

REPLACED = -1
"""The reply to a piece of an attempt that a later one has replaced."""


@dataclass
class HubAnswer:
    """The answer of a run that a model wrote last. `entry` counts the transcript entries before it."""

    entry: int
    attempt: int
    turn: int
    text: str = ""
    is_thinking: bool = False
    has_ended: bool = False
    changed_at: float = field(default_factory=time.monotonic)


class AnswerHub:
    """The last answer of each run, by workflow id, and who waits for more of it."""

    def __init__(self) -> None:
        self._answers: OrderedDict[str, HubAnswer] = OrderedDict()
        self._watchers: dict[str, list[Callable[[], None]]] = {}
        self._characters = 0

    def get(self, workflow_id: str) -> HubAnswer | None:
        """Return the last answer of a run, if there is one."""
        return self._answers.get(workflow_id)

    def put(self, piece: AnswerPiece) -> int:
        """Add a piece; return how many characters of its attempt the hub has, or `REPLACED`.

        A piece can come twice, or after a gap: then the worker sends the missing text next.
        """
        answer = self._answers.get(piece.workflow_id)
        if answer is None or piece.attempt > answer.attempt:
            self._drop(piece.workflow_id)
            answer = HubAnswer(piece.entry, piece.attempt, piece.turn)
            self._answers[piece.workflow_id] = answer
        elif piece.attempt < answer.attempt:
            return REPLACED
        held = len(answer.text)
        if piece.offset <= held:
            answer.text = (answer.text + piece.text[held - piece.offset :])[:MAX_ANSWER_CHARACTERS]
            self._characters += len(answer.text) - held
        answer.is_thinking, answer.has_ended = piece.is_thinking, piece.has_ended
        answer.changed_at = time.monotonic()
        self._answers.move_to_end(piece.workflow_id)
        self._make_room()
        for wake in self._watchers.get(piece.workflow_id, ()):
            wake()
        return len(answer.text)

    @contextmanager
    def watch(self, workflow_id: str, wake: Callable[[], None]) -> Iterator[None]:
        """Call `wake` after each piece of a run, while the block runs."""
        watchers = self._watchers.setdefault(workflow_id, [])
        watchers.append(wake)
        try:
            yield
        finally:
            watchers.remove(wake)
            if not watchers:
                self._watchers.pop(workflow_id, None)

    def _make_room(self) -> None:
        expired = time.monotonic() - KEEP_ANSWER_S
        while self._answers:
            workflow_id, oldest = next(iter(self._answers.items()))
            is_full = len(self._answers) > MAX_ANSWERS or self._characters > MAX_CHARACTERS
            if not is_full and oldest.changed_at > expired:
                return
            self._drop(workflow_id)

    def _drop(self, workflow_id: str) -> None:
        dropped = self._answers.pop(workflow_id, None)
        if dropped is not None:
            self._characters -= len(dropped.text)

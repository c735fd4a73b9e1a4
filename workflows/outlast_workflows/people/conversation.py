"""Conversations: the wait for the next message, and the callers that wait for an answer."""

import contextlib
import json
from collections.abc import Callable, Sequence
from datetime import timedelta

from pydantic import JsonValue
from temporalio import workflow

from outlast.contracts.messages import Message
from outlast.errors import BadRequest, ContinuedAsNew, TooManyWait
from outlast_workflows.run_display import RunDisplay
from outlast_workflows.state import InboundState, ReceivedMessage

IDLE_TIMEOUT = timedelta(days=1)
"""How long a conversation waits for the next message before it ends, without a limit of its own."""

MAX_WAITING = 5
"""Callers that wait for an answer at the same time. The server allows ten updates of a run in flight, and
some of them are for decisions."""


class Replies:
    """The callers that wait for an answer, until the run ends or continues as a new one."""

    def __init__(self) -> None:
        self._outcome: str | None = None
        self._waiting = 0

    @property
    def is_ending(self) -> bool:
        """Whether the run ends: it takes no more messages."""
        return self._outcome not in (None, ContinuedAsNew.__name__)

    def check_capacity(self) -> None:
        """Raise `TooManyWait` if the maximum of callers wait already."""
        if self._waiting >= MAX_WAITING:
            raise TooManyWait(f"{MAX_WAITING} callers already wait for the answer: try again later")

    async def next_answer(self, current: Callable[[], "Answer | None"]) -> JsonValue:
        """Wait until all messages are answered, and return the answer; `current` returns it or None.

        Raises `BadRequest` if the run ends first, and `ContinuedAsNew` if it continues as the next run of
        its chain: then the caller tries again.
        """
        self._waiting += 1
        try:
            # Everything else of the run goes on meanwhile. So the answer and the outcome are read anew
            # after the wait.
            await workflow.wait_condition(
                lambda: self._outcome is not None or current() is not None
            )
        finally:
            self._waiting -= 1
        answer = current()
        if answer is not None:
            return answer.value
        if self._outcome == ContinuedAsNew.__name__:
            raise ContinuedAsNew("the run continues as a new one: try again")
        raise BadRequest(f"there is no answer: the run has ended ({self._outcome})")

    def release_waiters(self, outcome: str) -> None:
        """End the wait of all callers; `outcome` says why there is no answer."""
        self._outcome = outcome

    async def end(self, outcome: str) -> None:
        """End the wait of all callers, and wait until every handler has returned.

        The server would drop an update whose handler has not returned when the run ends.
        """
        self.release_waiters(outcome)
        # New messages are rejected from now on. Decisions are still accepted, and have no effect.
        await workflow.wait_condition(workflow.all_handlers_finished)


class Answer:
    """An answer of the agent: a value of its own, because an answer may be None."""

    def __init__(self, value: JsonValue) -> None:
        self.value = value


def current_answer(messages: Sequence[Message], inbox: Sequence[ReceivedMessage]) -> Answer | None:
    """Return the answer to all messages, or None if the agent has not answered them yet."""
    last = messages[-1] if messages else None
    if inbox or last is None or last.role != "assistant" or last.content is None:
        return None
    decision = json.loads(last.content)
    return None if decision.get("tool_calls") else Answer(decision.get("answer"))


async def wait_for_message(
    inbound: InboundState, display: RunDisplay, idle_s: float | None
) -> bool:
    """Wait for the next message; return whether there is one, and the conversation goes on."""
    if not inbound.is_finishing:
        display.show("waiting_for_message", "waits for the next message")
        # A message in the workflow task of the timeout counts. So the inbox is read after the timeout.
        with contextlib.suppress(TimeoutError):
            # The handlers of `say` and `finish` run meanwhile, and end the wait.
            await workflow.wait_condition(
                lambda: bool(inbound.inbox) or inbound.is_finishing,
                timeout=IDLE_TIMEOUT if idle_s is None else timedelta(seconds=idle_s),
                timeout_summary="waits for a message; the conversation ends if none comes",
            )
    return bool(inbound.inbox)

"""The give and take of a conversation: how long it waits for more, and what it has answered."""

import contextlib
import json
from collections.abc import Callable
from datetime import timedelta

from pydantic import JsonValue
from temporalio import workflow

from outlast.errors import BadRequest, ContinuedAsNew, TooManyWait
from outlast_workflows.run_display import Presence
from outlast_workflows.state import RunState, Steering

IDLE_TIMEOUT = timedelta(days=1)
"""How long a conversation waits for the next message before it ends, if no limit says otherwise."""


MAX_WAITING = 5
"""Callers who wait for an answer at a time: the server takes ten updates of a run, and others need some."""


class Replies:
    """Answers who waits for what the agent says, until the run ends or goes on as another."""

    def __init__(self) -> None:
        self._outcome: str | None = None
        self._waiting = 0

    @property
    def are_over(self) -> bool:
        """Whether the run ends: nobody hears any more what is said."""
        return self._outcome not in (None, ContinuedAsNew.__name__)

    def check(self) -> None:
        """Refuse one more who waits, for people who decide need updates too."""
        if self._waiting >= MAX_WAITING:
            raise TooManyWait(f"{MAX_WAITING} callers wait for the answer already: ask again")

    async def next(
        self, state: Callable[[], RunState | None], steering: Callable[[], Steering]
    ) -> JsonValue:
        """Wait until all that was said is answered, and return the answer.

        Raises `BadRequest` if the run ends first, and `ContinuedAsNew` if it goes
        on as the next one of its chain, which has to be asked then.
        """
        self._waiting += 1
        try:
            await workflow.wait_condition(
                lambda: self._outcome is not None or _answered(state(), steering()) is not None
            )
        finally:
            self._waiting -= 1
        answered = _answered(state(), steering())
        if answered is not None:
            return answered["answer"]
        if self._outcome == ContinuedAsNew.__name__:
            raise ContinuedAsNew("the run goes on as a new one: ask again")
        raise BadRequest(f"nobody answers any more: the run has ended ({self._outcome})")

    def let_go(self, outcome: str) -> None:
        """Let everybody who waits go, with why there is no answer."""
        self._outcome = outcome

    async def end(self, outcome: str) -> None:
        """Let everybody who waits go, and wait until they are gone."""
        self.let_go(outcome)
        await workflow.wait_condition(workflow.all_handlers_finished)


async def heard_more(state: RunState, steering: Steering, presence: Presence) -> bool:
    """Wait until somebody says something; tell whether they did, or the conversation is over."""
    if not steering.finished:
        presence.show("waiting_for_human", "waits for the next message")
        idle_s = state.limits.idle_s
        # What was said in the workflow task of the timeout is heard all the same.
        with contextlib.suppress(TimeoutError):
            await workflow.wait_condition(
                lambda: bool(steering.inbox) or steering.finished,
                timeout=IDLE_TIMEOUT if idle_s is None else timedelta(seconds=idle_s),
                timeout_summary="conversation ends",
            )
    return bool(steering.inbox)


def _answered(state: RunState | None, steering: Steering) -> dict[str, JsonValue] | None:
    """Return the decision that answers all that was said, if the last one does."""
    last = state.messages[-1] if state and state.messages else None
    if steering.inbox or last is None or last.role != "assistant" or last.content is None:
        return None
    decision = json.loads(last.content)
    return None if decision.get("tool_calls") else {"answer": decision.get("answer")}

"""The give and take of a conversation: how long it waits for more, and what it has answered."""

import json
from collections.abc import Callable
from datetime import timedelta

from pydantic import JsonValue
from temporalio import workflow

from outlast.errors import CONTINUED_AS_NEW, BadRequest, Failure
from workflows.presence import Presence
from workflows.state import RunState, Steering

IDLE_TIMEOUT = timedelta(days=1)
"""How long a conversation waits for the next message before it ends, if no limit says otherwise."""


class Replies:
    """Answers who waits for what the agent says, until the run ends or goes on as another."""

    def __init__(self) -> None:
        self._outcome: str | None = None

    async def next(
        self, state: Callable[[], RunState | None], steering: Callable[[], Steering]
    ) -> JsonValue:
        """Wait until all that was said is answered, and return the answer.

        Raises `BadRequest` if the run ends first, and a `Failure` of the type `ContinuedAsNew` if it goes
        on as the next one of its chain, which has to be asked then.
        """
        await workflow.wait_condition(
            lambda: self._outcome is not None or _answered(state(), steering()) is not None
        )
        answered = _answered(state(), steering())
        if answered is not None:
            return answered["answer"]
        if self._outcome == CONTINUED_AS_NEW:
            raise Failure("the run goes on as a new one: ask again", kind=CONTINUED_AS_NEW)
        raise BadRequest(f"nobody answers any more: the run has ended ({self._outcome})")

    async def end(self, outcome: str) -> None:
        """Let everybody who waits go, with why there is no answer."""
        self._outcome = outcome
        await workflow.wait_condition(workflow.all_handlers_finished)


async def heard_more(state: RunState, steering: Steering, presence: Presence) -> bool:
    """Wait until somebody says something; tell whether they did, or the conversation is over."""
    if not steering.finished:
        presence.show("waiting_for_human", "waits for the next message")
        idle_s = state.limits.idle_s
        try:
            await workflow.wait_condition(
                lambda: bool(steering.inbox) or steering.finished,
                timeout=IDLE_TIMEOUT if idle_s is None else timedelta(seconds=idle_s),
                timeout_summary="conversation ends",
            )
        except TimeoutError:
            return False
    return bool(steering.inbox)


def _answered(state: RunState | None, steering: Steering) -> dict[str, JsonValue] | None:
    """Return the decision that answers all that was said, if the last one does."""
    last = state.messages[-1] if state and state.messages else None
    if steering.inbox or last is None or last.role != "assistant" or last.content is None:
        return None
    decision = json.loads(last.content)
    return None if decision.get("tool_calls") else {"answer": decision.get("answer")}

"""Presence: keeps what the stock UI and CLI show of a run true, at a bounded price."""

from datetime import datetime, timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import SearchAttributeUpdate

from outlast.contracts.results import AgentStatus, Progress
from outlast.contracts.search_attributes import (
    AGENT_AUDIENCE,
    AGENT_COST_USD,
    AGENT_NAME,
    AGENT_STATUS,
    AGENT_TENANT,
    AGENT_TURNS,
)
from outlast_workflows.display_text import details
from outlast_workflows.state import RunState, Steering

UPSERT_EVERY = timedelta(seconds=30)
"""An upsert is an event in the history and a billable action: between `thinking` and `acting` one in 30 s
keeps a slow run's attributes fresh and costs a fast one nothing."""

BUSY: tuple[AgentStatus, ...] = ("thinking", "acting")


def is_upsert_due(shown: AgentStatus | None, status: AgentStatus, since: timedelta) -> bool:
    """Tell whether a change of status is worth an upsert: at once, unless both are a busy one."""
    if shown in BUSY and status in BUSY:
        return since >= UPSERT_EVERY
    return shown != status


class Presence:
    """Shows one run: live details at each step, search attributes when they are due."""

    def __init__(self, state: RunState, steering: Steering) -> None:
        self._state = state
        self._steering = steering
        self._shown: AgentStatus | None = None
        self._shown_at: datetime = state.started_at
        self._audiences: list[str] = []

    def show(self, status: AgentStatus, doing: str) -> None:
        """Show what the run does from now on."""
        self._steering.status, self._steering.doing = status, doing
        workflow.set_current_details(details(self.progress(), workflow.info().workflow_id))
        now = workflow.now()
        if not self._state.has_search_attributes:
            return
        audiences = sorted({request.audience for request in self._steering.pending.values()})
        due = is_upsert_due(self._shown, status, now - self._shown_at)
        if due or (self._state.has_audience_attribute and audiences != self._audiences):
            workflow.upsert_search_attributes(self._attributes(audiences))
            self._shown, self._shown_at, self._audiences = status, now, audiences

    def progress(self) -> Progress:
        """Return the answer of the query `progress`."""
        state, steering = self._state, self._steering
        return Progress(
            agent=state.agent.name,
            status=steering.status,
            doing=steering.doing,
            turn=state.turn,
            max_turns=state.limits.max_turns or 0,
            tool_calls=state.tool_calls,
            usage=state.usage,
            pending=list(steering.pending.values()),
        )

    def _attributes(self, audiences: list[str]) -> list[SearchAttributeUpdate[Any]]:
        state = self._state
        changing: list[SearchAttributeUpdate[Any]] = [
            AGENT_STATUS.value_set(self._steering.status),
            *self._audience(audiences),
            AGENT_TURNS.value_set(state.turn),
            AGENT_COST_USD.value_set(float(state.usage.cost_usd)),
        ]
        if self._shown is not None:
            return changing
        return [
            AGENT_NAME.value_set(state.agent.name),
            AGENT_TENANT.value_set(state.tenant),
            *changing,
        ]

    def _audience(self, audiences: list[str]) -> list[SearchAttributeUpdate[Any]]:
        if not self._state.has_audience_attribute or not (audiences or self._audiences):
            return []
        return [AGENT_AUDIENCE.value_set(audiences)]

"""The display of a run: the live details and search attributes that the Temporal UI and CLI show."""

from datetime import datetime, timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import SearchAttributeUpdate

from outlast.contracts.agents import ToolSpec
from outlast.contracts.human import PendingRequest
from outlast.contracts.results import AgentStatus, Progress
from outlast.contracts.search_attributes import (
    AGENT_AUDIENCE,
    AGENT_COST_USD,
    AGENT_NAME,
    AGENT_STATUS,
    AGENT_TENANT,
    AGENT_TURNS,
    AGENT_WAITING_SINCE,
)
from outlast.text.safe_text import escaped
from outlast.text.texts import excerpt
from outlast_workflows.display_text import details, last_messages
from outlast_workflows.state import InboundState, RunState

UPSERT_EVERY = timedelta(seconds=30)
"""How often a change between `thinking` and `acting` is upserted. Each upsert is an event in the history
and a billable action: this keeps the attributes of a slow run fresh, and costs a fast run nothing."""

MAX_DESCRIPTION = 300
"""Characters of a tool's description in a request."""

MAX_DOING = 1_000
"""Characters that say what a run does now."""

BUSY: tuple[AgentStatus, ...] = ("thinking", "acting")


def is_upsert_due(shown: AgentStatus | None, status: AgentStatus, since: timedelta) -> bool:
    """Tell whether a change of status is upserted: at once, unless both are a busy status."""
    if shown in BUSY and status in BUSY:
        return since >= UPSERT_EVERY
    return shown != status


class RunDisplay:
    """Shows one run: live details at each step, and search attributes when an upsert is due."""

    def __init__(self, state: RunState, inbound: InboundState) -> None:
        self._state = state
        self._inbound = inbound
        self._shown_status: AgentStatus | None = None
        self._shown_agent = state.agent.name
        self._shown_at: datetime = state.started_at
        self._shown_audiences: list[str] = []
        self._shown_since: datetime | None = None

    def show(self, status: AgentStatus, doing: str) -> None:
        """Show what the run does from now on."""
        self._state.status, self._state.doing = status, escaped(excerpt(doing, MAX_DOING))
        workflow.set_current_details(self._details())
        now = workflow.now()
        if not self._state.has_search_attributes:
            return
        pending = self._inbound.pending.values()
        audiences = sorted({request.audience for request in pending})
        since = min((request.opened_at for request in pending), default=None)
        is_due = is_upsert_due(self._shown_status, status, now - self._shown_at)
        is_other_audience = (
            self._state.has_audience_attribute and audiences != self._shown_audiences
        )
        is_other_since = self._state.has_waiting_since_attribute and since != self._shown_since
        if is_due or is_other_audience or is_other_since:
            workflow.upsert_search_attributes(self._attributes(audiences, since))
            self._shown_status, self._shown_at = status, now
            self._shown_audiences, self._shown_since = audiences, since

    def show_acting(self, doing: str = "") -> None:
        """Show what the run does, or the requests that wait for people if there are any."""
        if self._inbound.pending:
            waiting = ", ".join(self._inbound.pending)
            self.show("waiting_for_human", f"requests {waiting} wait for people")
        else:
            self.show("acting", doing or f"turn {self._state.spending.turns}")

    def with_reason(self, request: PendingRequest, tool: ToolSpec) -> PendingRequest:
        """Return a request that says why the run makes it: the agent, the user's message, and the tool."""
        return request.model_copy(
            update={
                "agent": self._state.agent.name,
                "user_message": self._state.user_text,
                "tool_description": excerpt(tool.description, MAX_DESCRIPTION),
                "effect": tool.effect if tool.kind == "activity" else None,
            }
        )

    def _details(self) -> str:
        state = self._state
        is_conversation = state.mode == "conversation"
        messages = (
            last_messages(state.transcript.messages, is_conversation=is_conversation)
            if is_conversation or state.status == "completed"
            else []
        )
        return details(self.progress(), workflow.info().workflow_id, messages)

    def progress(self) -> Progress:
        """Return the result of the query `progress`."""
        state, spending = self._state, self._state.spending
        return Progress(
            agent=state.agent.name,
            tenant=state.tenant,
            status=state.status,
            doing=state.doing,
            turn=spending.turns,
            max_turns=state.limits.max_turns or 0,
            tool_calls=spending.tool_calls,
            usage=spending.usage,
            pending=list(self._inbound.pending.values()),
            warnings=state.warnings,
        )

    def _attributes(
        self, audiences: list[str], since: datetime | None
    ) -> list[SearchAttributeUpdate[Any]]:
        state = self._state
        variable: list[SearchAttributeUpdate[Any]] = [
            AGENT_STATUS.value_set(state.status),
            *self._audience_attribute(audiences),
            *self._since_attribute(since),
            AGENT_TURNS.value_set(state.spending.turns),
            AGENT_COST_USD.value_set(float(state.spending.usage.cost_usd)),
        ]
        if self._shown_agent != state.agent.name:
            self._shown_agent = state.agent.name
            variable.append(AGENT_NAME.value_set(state.agent.name))
        if self._shown_status is not None:
            return variable
        return [
            AGENT_NAME.value_set(state.agent.name),
            AGENT_TENANT.value_set(state.tenant),
            *variable,
        ]

    def _audience_attribute(self, audiences: list[str]) -> list[SearchAttributeUpdate[Any]]:
        if not self._state.has_audience_attribute or not (audiences or self._shown_audiences):
            return []
        return [AGENT_AUDIENCE.value_set(audiences)]

    def _since_attribute(self, since: datetime | None) -> list[SearchAttributeUpdate[Any]]:
        if not self._state.has_waiting_since_attribute or since == self._shown_since:
            return []
        if since is None:
            return [AGENT_WAITING_SINCE.value_unset()]
        return [AGENT_WAITING_SINCE.value_set(since)]

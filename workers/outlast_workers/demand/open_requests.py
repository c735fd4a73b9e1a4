"""The age of the oldest open human request of each agent, for Prometheus."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import structlog
from prometheus_client.core import Metric
from temporalio.client import Client, WorkflowExecution
from temporalio.service import RPCError

from outlast.contracts.search_attributes import (
    AGENT_NAME,
    AGENT_STATUS,
    AGENT_WAITING_SINCE,
)

POLL_S = 60.0
"""How often the server lists the runs that wait. A listing is larger than a count, so this is rarer."""

LIST_TIMEOUT = timedelta(seconds=5)

MAX_LISTED = 1_000
"""Runs of one listing, which is the largest page of a server. Servers list the runs that started last."""

MAX_LISTINGS = 5
"""Listings of one poll. With more waiting runs than one lists, the next lists only older requests."""

MAX_AGENTS = 50
"""Agents with values of their own, the oldest requests first. The names of agents in a `spec` are without
number, so the others share the name `OTHERS`."""

OTHERS = "other"
UNNAMED = "unknown"
"""The label of runs without `AgentName`."""

RUNS = "outlast_agent_waiting_runs"
AGE = "outlast_agent_oldest_request_seconds"
TEXTS = {
    RUNS: "Runs that wait for people, by agent.",
    AGE: "Age of the oldest open request to people, by agent.",
}

WAITING = f'ExecutionStatus="Running" AND {AGENT_STATUS.name}="waiting_for_human"'

log = structlog.get_logger("outlast.demand")


@dataclass
class AgentRequests:
    """The runs of one agent that wait, and when their oldest request opened, if they say so."""

    runs: int = 0
    since: datetime | None = None

    def add(self, runs: int, since: datetime | None) -> None:
        """Add further runs."""
        self.runs += runs
        if since is not None and (self.since is None or since < self.since):
            self.since = since


class OpenRequests:
    """The open requests of all agents, as a collector of Prometheus' client library."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._agents: dict[str, AgentRequests] = {}
        self._is_failing = False

    async def run(self) -> None:
        """List until this is cancelled."""
        while True:
            await self.read()
            await asyncio.sleep(POLL_S)

    async def read(self) -> None:
        """Ask the server for the runs that wait. A failure clears the values, and is logged once."""
        try:
            self._agents = await self._read()
            self._is_failing = False
        except RPCError as error:
            self._agents = {}
            if not self._is_failing:
                log.warning("open_requests.not_listed", reason=error.message)
            self._is_failing = True

    async def _read(self) -> dict[str, AgentRequests]:
        """Return the agents of the runs that wait.

        The oldest request of all is always among them: each further listing has only older ones.
        """
        agents: dict[str, AgentRequests] = {}
        oldest: datetime | None = None
        for _ in range(MAX_LISTINGS):
            listed = await self._list(oldest)
            for execution in listed:
                attributes = execution.typed_search_attributes
                since = attributes.get(AGENT_WAITING_SINCE)
                name = attributes.get(AGENT_NAME) or UNNAMED
                agents.setdefault(name, AgentRequests()).add(1, since)
            oldest = min((one.since for one in agents.values() if one.since), default=None)
            if len(listed) < MAX_LISTED or oldest is None:
                break
        return _bounded(agents)

    async def _list(self, before: datetime | None) -> list[WorkflowExecution]:
        query = WAITING
        if before is not None:
            query += f' AND {AGENT_WAITING_SINCE.name} < "{before.isoformat()}"'
        listing = self._client.list_workflows(
            query, page_size=MAX_LISTED, limit=MAX_LISTED, rpc_timeout=LIST_TIMEOUT
        )
        return [execution async for execution in listing]

    def collect(self) -> Iterator[Metric]:
        """Yield the gauges, with the values of the last poll and the age of now."""
        metrics = {name: Metric(name, text, "gauge") for name, text in TEXTS.items()}
        now = datetime.now(UTC)
        for name, agent in self._agents.items():
            metrics[RUNS].add_sample(RUNS, {"agent": name}, agent.runs)
            if agent.since is not None:
                age_s = max(0.0, (now - agent.since).total_seconds())
                metrics[AGE].add_sample(AGE, {"agent": name}, round(age_s, 3))
        yield from metrics.values()


def _bounded(agents: dict[str, AgentRequests]) -> dict[str, AgentRequests]:
    """Return the agents with the oldest requests by their names, and all others together."""
    newest = datetime.max.replace(tzinfo=UTC)
    names = sorted(agents, key=lambda name: (agents[name].since or newest, name))
    bounded = {name: agents[name] for name in names[:MAX_AGENTS]}
    for name in names[MAX_AGENTS:]:
        bounded.setdefault(OTHERS, AgentRequests()).add(agents[name].runs, agents[name].since)
    return bounded

"""Counts of the runs that wait for people, for Prometheus."""

import asyncio
from collections.abc import Iterable, Iterator
from datetime import timedelta

import structlog
from prometheus_client.core import Metric
from temporalio.client import Client
from temporalio.service import RPCError

from outlast.contracts.search_attributes import (
    AGENT_AUDIENCE,
    AGENT_STATUS,
    UNSEARCHABLE,
    query_literal,
)

POLL_S = 15.0
"""How often the server counts. Each count is one call for all runs, and one for each audience."""

COUNT_TIMEOUT = timedelta(seconds=5)

MAX_AUDIENCES = 50
"""Audiences with a count of their own, in the order of their names. Servers cannot search for all names."""

NAME = "outlast_waiting_runs"
ALL = "*"
"""The label of the count of all runs. A run that waits for two audiences counts for both."""

log = structlog.get_logger("outlast.demand")


class WaitingRuns:
    """The runs with open requests, as a collector of Prometheus' client library."""

    def __init__(self, client: Client, audiences: Iterable[str] = ()) -> None:
        self._client = client
        named = sorted(set(audiences) - {ALL})[:MAX_AUDIENCES]
        self._audiences = [name for name in named if not set(name) & UNSEARCHABLE]
        self._counts: dict[str, int] = {}
        self._failed: set[str] = set()

    async def run(self) -> None:
        """Count until this is cancelled."""
        while True:
            await self.count()
            await asyncio.sleep(POLL_S)

    async def count(self) -> None:
        """Ask the server for all counts. One that fails is left out, and logged the first time."""
        waiting = f'ExecutionStatus="Running" AND {AGENT_STATUS.name}="waiting_for_human"'
        queries = {ALL: waiting}
        for name in self._audiences:
            queries[name] = f"{waiting} AND {AGENT_AUDIENCE.name}={query_literal(name, 'audience')}"
        counts: dict[str, int] = {}
        for name, query in queries.items():
            try:
                counted = await self._client.count_workflows(query, rpc_timeout=COUNT_TIMEOUT)
                counts[name] = counted.count
            except RPCError as error:
                self._log_failure(name, error)
        self._failed -= counts.keys()
        self._counts = counts

    def _log_failure(self, audience: str, error: RPCError) -> None:
        if audience not in self._failed:
            log.warning("waiting_runs.not_counted", audience=audience, reason=error.message)
        self._failed.add(audience)

    def collect(self) -> Iterator[Metric]:
        """Yield the gauge, with the values of the last poll."""
        metric = Metric(NAME, "Runs that wait for people, by audience.", "gauge")
        for name, count in self._counts.items():
            metric.add_sample(NAME, {"audience": name}, count)
        yield metric

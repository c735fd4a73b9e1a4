"""How many runs of a build are open, have ended and have failed, and how many failures are too many."""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from temporalio.client import Client

from outlast.contracts.search_attributes import query_literal
from outlast.errors import BadRequest, NotReady
from outlast_workers.builds.deployment import CALL_TIMEOUT

FAILED = "ExecutionStatus IN ('Failed', 'TimedOut')"
ENDED = "ExecutionStatus IN ('Completed', 'Failed', 'TimedOut', 'Canceled', 'Terminated')"
OPEN = "ExecutionStatus = 'Running'"
STUCK = f"{OPEN} AND TemporalReportedProblems IS NOT NULL"
"""Runs whose workflow tasks fail again and again. Such a run does not end, so its status says nothing."""


@dataclass(frozen=True)
class RunCounts:
    """Runs of a build."""

    open: int = 0
    ended: int = 0
    failed: int = 0
    stuck: int = 0

    def __str__(self) -> str:
        stuck = f", {self.stuck} with failing workflow tasks" if self.stuck else ""
        return f"runs: {self.ended} ended, {self.failed} failed, {self.open} open{stuck}"

    def exceeds(self, max_failure_rate: float, min_runs: int) -> bool:
        """Return whether too many runs failed.

        At most `max_failure_rate` of the ended runs may fail. With fewer than `min_runs` ended runs, as
        many may fail as of `min_runs`: so one early failure does not stop a promotion, and a build that
        fails everything is stopped early.
        """
        judged = self.ended + self.stuck
        return self.failed + self.stuck > max_failure_rate * max(judged, min_runs)


async def count_open(client: Client, deployment: str, build_id: str) -> int:
    """Return how many runs of a build are open."""
    return await _count(client, f"{_version_query(deployment, build_id)} AND {OPEN}")


async def count_runs(
    client: Client, deployment: str, build_id: str, *, since: datetime
) -> RunCounts:
    """Count the runs of a build that started at `since` or later."""
    start = since.astimezone(UTC).isoformat(timespec="microseconds")
    runs = f"{_version_query(deployment, build_id)} AND StartTime >= '{start}'"
    counts = await asyncio.gather(
        *(_count(client, f"{runs} AND {which}") for which in (OPEN, ENDED, FAILED, STUCK))
    )
    return RunCounts(*counts)


async def _count(client: Client, query: str) -> int:
    timeout: timedelta = CALL_TIMEOUT
    return (await client.count_workflows(query, rpc_timeout=timeout)).count


def _version_query(deployment: str, build_id: str) -> str:
    """Return the query for the runs of a build. Raises `NotReady` for one whose runs cannot be counted."""
    try:
        version = query_literal(f"{deployment}:{build_id}", "the build")
    except BadRequest as error:
        # Counted as none, its workers would be removed, and no failure would stop its promotion.
        raise NotReady(str(error)) from None
    return f"TemporalWorkerDeploymentVersion = {version}"

"""The builds of a deployment: which have workers and open runs, and which can be removed."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from temporalio.service import RPCError

from outlast_workers.builds.deployment import BuildStatus, Deployment, Routing
from outlast_workers.builds.run_counts import count_open

MAX_LISTED = 100
"""Builds that are listed: the server's own limit of versions in a deployment by default."""


@dataclass(frozen=True)
class BuildRow:
    """A build, with its workers and runs."""

    id: str
    status: BuildStatus
    percent: float | None
    """The share of new runs in percent, if the build is ramping."""
    polled: int
    queues: int
    """Task queues that its workers poll now, and that they have ever polled."""
    open: int
    """Runs that are pinned to the build and have not ended."""

    @property
    def is_removable(self) -> bool:
        """Return whether the build has no open runs and gets no new ones."""
        return self.status is BuildStatus.DRAINED and not self.open

    @property
    def advice(self) -> str:
        """What a person does about the build."""
        if self.open and not self.polled:
            return "start its workers: its runs wait for them"
        if self.status is BuildStatus.NEW:
            return f"promote it: outlast worker promote {self.id}"
        if self.status is BuildStatus.DRAINING:
            return "keep its workers until its runs have ended"
        if not self.is_removable:
            return ""
        if self.polled:
            return "remove its workers"
        return "delete it: outlast worker builds --delete-drained"


async def list_builds(deployment: Deployment, routing: Routing) -> list[BuildRow]:
    """Return the builds of a deployment, the newest first."""
    builds = routing.builds[:MAX_LISTED]
    rows: list[BuildRow] = []
    for build in builds:
        queues, polled, running = await asyncio.gather(
            deployment.queues(build.id),
            deployment.polled_queues(build.id),
            count_open(deployment.client, deployment.name, build.id),
        )
        percent = routing.percent if build.status is BuildStatus.RAMPING else None
        rows.append(BuildRow(build.id, build.status, percent, len(polled), len(queues), running))
    return rows


async def open_runs(
    deployment: Deployment, build_ids: Sequence[str], *, ignored: Sequence[str]
) -> dict[str, int]:
    """Return how many runs of each build are open, for the builds that have some.

    Without `build_ids`, all builds that the server lists count. An unknown deployment has none.
    """
    if not build_ids:
        routing = await deployment.routing()
        build_ids = [build.id for build in routing.builds[:MAX_LISTED]] if routing else []
    counts: dict[str, int] = {}
    for build_id in build_ids:
        if build_id not in ignored:
            counts[build_id] = await count_open(deployment.client, deployment.name, build_id)
    return {build_id: count for build_id, count in counts.items() if count}


async def delete_drained(deployment: Deployment, rows: Sequence[BuildRow]) -> dict[str, str | None]:
    """Delete the builds that can be removed. Return why each was not deleted, or None if it was.

    The server rejects a build whose workers polled in the last minutes: repeat it later.
    """
    results: dict[str, str | None] = {}
    for row in rows:
        if not row.is_removable:
            continue
        try:
            await deployment.delete(row.id)
        except RPCError as error:
            results[row.id] = " ".join(error.message.split()) or error.status.name
        else:
            results[row.id] = None
    return results


def build_json(row: BuildRow) -> dict[str, Any]:
    """Return a build as JSON."""
    return {
        "build": row.id,
        "status": row.status.value,
        "percent": row.percent,
        "queues_polled": row.polled,
        "queues": row.queues,
        "open_runs": row.open,
        "removable": row.is_removable,
    }


def build_lines(rows: Sequence[BuildRow]) -> list[str]:
    """Return a table of the builds for a terminal."""
    table = [("BUILD", "STATUS", "POLLED", "OPEN RUNS", "WHAT TO DO")]
    for row in rows:
        status = row.status.value + (f" {row.percent:g} %" if row.percent is not None else "")
        polled = f"{row.polled} of {row.queues} queues"
        table.append((row.id, status, polled, str(row.open), row.advice))
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in table
    ]

"""The inbox: human requests of all runs, found by search attributes, as lines for a terminal."""

import asyncio
import shutil
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from pydantic import JsonValue
from temporalio.service import RPCError, RPCStatusCode

from outlast.contracts.human import PendingRequest
from outlast.contracts.names import WORKFLOWS
from outlast.contracts.search_attributes import (
    AGENT_AUDIENCE,
    AGENT_STATUS,
    AGENT_TENANT,
    query_literal,
)
from outlast.errors import NotReady, OutlastError
from outlast.terminal.request_text import duration_text
from outlast.text.safe_text import cut_line, visible_line
from outlast.text.texts import call_text, cut

if TYPE_CHECKING:
    from outlast.client.client import Client
    from outlast.client.runs import Run

MAX_RUNS = 200
"""Runs that one inbox queries. Each query is billed, and a person reads no more."""

MAX_QUERIES_IN_FLIGHT = 16
"""A worker that has evicted a run from its cache replays it for each query."""

QUERY_TIMEOUT_S = 5.0
"""A worker answers in less than a second. Without a worker, the server keeps a query for longer."""

CALL_TIMEOUT = timedelta(seconds=10)

MAX_SUMMARY_BYTES = 120
"""A call or a question in the list. The command that decides it shows it in full."""

MAX_REASON_BYTES = 300
"""The reason why a run cannot be queried, on its line of the list."""

MIN_SUMMARY_BYTES = 30
"""A narrow terminal wraps the list, before a call or a question is shorter than this."""

TITLES = ("RUN", "REQUEST", "AUDIENCE", "WAITS", "EXPIRES IN", "VOTES", "ASKED")

DECIDE_HINT = "Decide one: outlast approve | deny | edit | answer RUN REQUEST"


@dataclass(frozen=True)
class InboxEntry:
    """A pending request, and the workflow id of its run."""

    run_id: str
    request: PendingRequest


@dataclass(frozen=True)
class UnreachableRun:
    """A run whose pending requests are unknown, because no worker answered the query."""

    run_id: str
    reason: str


@dataclass(frozen=True)
class Inbox:
    """Pending requests, the oldest first; `more` if there are runs beyond `MAX_RUNS`."""

    entries: tuple[InboxEntry, ...]
    unreachable: tuple[UnreachableRun, ...] = ()
    more: bool = False


async def read_inbox(
    client: "Client", *, audience: str | None = None, tenant: str | None = None
) -> Inbox:
    """Return the pending requests of an audience and a tenant; None selects all.

    Raises `NotReady` if the namespace lacks outlast's search attributes.
    """
    run_ids = await _run_ids(client, inbox_query(audience=audience, tenant=tenant))
    slots = asyncio.Semaphore(MAX_QUERIES_IN_FLIGHT)

    async def read_run(run_id: str) -> tuple[InboxEntry, ...] | UnreachableRun:
        async with slots:
            pending = await query_pending(client.get(run_id))
        if isinstance(pending, UnreachableRun):
            return pending
        return tuple(
            InboxEntry(run_id, request)
            for request in pending
            if audience in (None, request.audience)
        )

    results = await asyncio.gather(*map(read_run, run_ids[:MAX_RUNS]))
    entries = [entry for result in results if isinstance(result, tuple) for entry in result]
    return Inbox(
        entries=tuple(
            sorted(
                entries, key=lambda entry: (entry.request.opened_at, entry.run_id, _order(entry))
            )
        ),
        unreachable=tuple(result for result in results if isinstance(result, UnreachableRun)),
        more=len(run_ids) > MAX_RUNS,
    )


async def query_pending(run: "Run") -> list[PendingRequest] | UnreachableRun:
    """Return the pending requests of a run, or the reason why they are unknown."""
    try:
        async with asyncio.timeout(QUERY_TIMEOUT_S):
            return await run.pending_requests()
    except TimeoutError:
        return UnreachableRun(run.id, f"no worker answered within {QUERY_TIMEOUT_S:g} s")
    except OutlastError as error:
        return UnreachableRun(run.id, str(error))


async def _run_ids(client: "Client", query: str) -> list[str]:
    runs = client.temporal.list_workflows(query, limit=MAX_RUNS + 1, rpc_timeout=CALL_TIMEOUT)
    try:
        # A run that continues as new is listed twice for a moment.
        return list(dict.fromkeys([run.id async for run in runs]))
    except RPCError as error:
        if error.status is not RPCStatusCode.INVALID_ARGUMENT:
            raise
        raise NotReady(
            f"the namespace lacks the search attributes of outlast ({error.message}): a worker creates"
            " them at its start, or logs the command that creates them"
        ) from None


def inbox_query(*, audience: str | None = None, tenant: str | None = None) -> str:
    """Return the visibility query for runs that wait for a person."""
    terms = [
        f"WorkflowType IN ({', '.join(map(repr, WORKFLOWS))})",
        "ExecutionStatus = 'Running'",
        f"{AGENT_STATUS.name} = 'waiting_for_human'",
        # Runs of older builds have this status also while they wait for the next message.
        f"{AGENT_AUDIENCE.name} IS NOT NULL",
    ]
    if audience is not None:
        terms.append(f"{AGENT_AUDIENCE.name} = {query_literal(audience, '--audience')}")
    if tenant is not None:
        terms.append(f"{AGENT_TENANT.name} = {query_literal(tenant, '--tenant')}")
    return " AND ".join(terms)


def _order(entry: InboxEntry) -> list[tuple[int, str]]:
    return [(len(part), part) for part in entry.request.request_id.split(".")]


def inbox_json(inbox: Inbox) -> dict[str, JsonValue]:
    """Return an inbox for programs."""
    return {
        "requests": [
            {"run": entry.run_id, **entry.request.model_dump(mode="json")}
            for entry in inbox.entries
        ],
        "unanswered": [{"run": run.run_id, "reason": run.reason} for run in inbox.unreachable],
        "more": inbox.more,
    }


def terminal_width() -> int | None:
    """Return the columns of the terminal, or None if the output goes elsewhere."""
    columns = shutil.get_terminal_size((0, 0)).columns
    return columns or None


def inbox_lines(
    inbox: Inbox, *, now: datetime, audience: str | None = None, width: int | None = None
) -> list[str]:
    """Return an inbox for people, in lines of at most `width` columns where that is possible."""
    lines: list[str] = []
    if inbox.entries:
        rows = [TITLES, *(_row(entry, now) for entry in inbox.entries)]
        lines += [*_table(rows, width), "", DECIDE_HINT]
    elif not inbox.unreachable:
        lines.append(f"No request waits for {visible_line(audience) if audience else 'a person'}.")
    lines += [
        f"{visible_line(run.run_id)} cannot be queried: {cut(run.reason, MAX_REASON_BYTES)}"
        for run in inbox.unreachable
    ]
    if inbox.more:
        lines.append(f"More than {MAX_RUNS} runs wait. Select fewer with --audience or --tenant.")
    return lines


def _row(entry: InboxEntry, now: datetime) -> tuple[str, ...]:
    request = entry.request
    votes = "-" if request.kind == "question" else f"{len(request.approved_by)} of {request.quorum}"
    return (
        visible_line(entry.run_id),
        request.request_id,
        visible_line(request.audience),
        duration_text(now - request.opened_at),
        duration_text(request.expires_at - now),
        votes,
        _summary(request),
    )


def _table(rows: list[tuple[str, ...]], width: int | None) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    if width is not None:
        room = max(MIN_SUMMARY_BYTES, width - sum(widths[:-1]) - 2 * len(widths[:-1]))
        rows = [(*row[:-1], cut_line(row[-1], room)) for row in rows]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _summary(request: PendingRequest) -> str:
    if request.kind == "question":
        return cut(request.question or "", MAX_SUMMARY_BYTES)
    return call_text(request.tool, request.arguments, MAX_SUMMARY_BYTES)

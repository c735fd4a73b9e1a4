"""The inbox: what waits for people in all runs, found by visibility, and told in lines for a terminal."""

import asyncio
import json
from dataclasses import dataclass
from datetime import datetime, timedelta

from pydantic import JsonValue
from temporalio.client import WorkflowQueryFailedError
from temporalio.service import RPCError, RPCStatusCode

from outlast.client import Client
from outlast.contracts.human import PendingRequest
from outlast.contracts.names import AGENT_WORKFLOW
from outlast.contracts.search_attributes import AGENT_AUDIENCE, AGENT_STATUS, AGENT_TENANT
from outlast.errors import BadRequest, NotReady
from outlast.runs import Run
from outlast.texts import call_text, cut

MAX_RUNS = 200
"""Runs that one inbox asks: more than a person goes through, and each query is billed."""

ASKED_AT_ONCE = 16
"""Queries in flight: a worker that has a run no longer in memory replays it for each."""

ASKED_WITHIN_S = 5.0
"""A worker answers in less than a second. Where there is none, the server holds a query for longer."""

CALL_TIMEOUT = timedelta(seconds=10)

MAX_ASKED_BYTES = 120
"""Of a call or a question in the list; the command that settles it shows all of it."""

TITLES = ("RUN", "REQUEST", "AUDIENCE", "WAITS", "EXPIRES IN", "VOTES", "ASKED")

SETTLE_HINT = "Settle one: outlast approve | deny | edit | answer RUN REQUEST"


@dataclass(frozen=True)
class Waiting:
    """An open request and the run that it belongs to."""

    run_id: str
    request: PendingRequest


@dataclass(frozen=True)
class Unanswered:
    """A run that could not say what it waits for, and why."""

    run_id: str
    reason: str


@dataclass(frozen=True)
class Inbox:
    """Open requests, the oldest first; `more` if further runs wait that were not asked."""

    waiting: tuple[Waiting, ...]
    unanswered: tuple[Unanswered, ...] = ()
    more: bool = False


async def read_inbox(
    client: Client, *, audience: str | None = None, tenant: str | None = None
) -> Inbox:
    """Return what waits for `audience` (None: for anybody) in the runs of `tenant`.

    Raises `NotReady` where the namespace lacks the search attributes that runs are found by.
    """
    run_ids = await _run_ids(client, waiting_query(audience=audience, tenant=tenant))
    turns = asyncio.Semaphore(ASKED_AT_ONCE)

    async def ask(run_id: str) -> tuple[Waiting, ...] | Unanswered:
        async with turns:
            asked = await ask_run(client.get(run_id))
        if isinstance(asked, Unanswered):
            return asked
        return tuple(
            Waiting(run_id, request) for request in asked if audience in (None, request.audience)
        )

    answers = await asyncio.gather(*map(ask, run_ids[:MAX_RUNS]))
    found = [item for answer in answers if isinstance(answer, tuple) for item in answer]
    return Inbox(
        waiting=tuple(
            sorted(found, key=lambda item: (item.request.opened_at, item.run_id, _order(item)))
        ),
        unanswered=tuple(answer for answer in answers if isinstance(answer, Unanswered)),
        more=len(run_ids) > MAX_RUNS,
    )


async def ask_run(run: Run) -> list[PendingRequest] | Unanswered:
    """Return what a run waits for, or why it could not be asked."""
    try:
        async with asyncio.timeout(ASKED_WITHIN_S):
            return await run.pending_requests()
    except TimeoutError:
        return Unanswered(run.id, f"no worker answered within {ASKED_WITHIN_S:g} s")
    except RPCError as error:
        return Unanswered(run.id, error.message)
    except WorkflowQueryFailedError as error:
        return Unanswered(run.id, str(error))


async def _run_ids(client: Client, query: str) -> list[str]:
    listed = client.temporal.list_workflows(query, limit=MAX_RUNS + 1, rpc_timeout=CALL_TIMEOUT)
    try:
        # A run that continues as new is for a moment listed twice.
        return list(dict.fromkeys([run.id async for run in listed]))
    except RPCError as error:
        if error.status is not RPCStatusCode.INVALID_ARGUMENT:
            raise
        raise NotReady(
            f"runs cannot be found by what they wait for ({error.message}): a worker creates the search"
            " attributes at its start, or logs the command that does"
        ) from None


def waiting_query(*, audience: str | None = None, tenant: str | None = None) -> str:
    """Return the visibility query that finds the runs that wait for people."""
    terms = [
        f"WorkflowType = '{AGENT_WORKFLOW}'",
        "ExecutionStatus = 'Running'",
        f"{AGENT_STATUS.name} = 'waiting_for_human'",
        # Conversations wait too, for whatever is said next, and ask nobody.
        f"{AGENT_AUDIENCE.name} IS NOT NULL",
        *(
            []
            if audience is None
            else [f"{AGENT_AUDIENCE.name} = {quoted(audience, '--audience')}"]
        ),
        *([] if tenant is None else [f"{AGENT_TENANT.name} = {quoted(tenant, '--tenant')}"]),
    ]
    return " AND ".join(terms)


def quoted(value: str, what: str) -> str:
    """Return a string literal of a visibility query; raises `BadRequest` for one that has none.

    Servers disagree about backslashes and double quotes: with them SQLite finds nothing, or fails.
    """
    if "\\" in value or '"' in value:
        raise BadRequest(f'{what}: {value!r} cannot be searched for: it has a \\ or a "')
    return "'" + value.replace("'", "''") + "'"


def _order(item: Waiting) -> list[tuple[int, str]]:
    return [(len(part), part) for part in item.request.request_id.split(".")]


def inbox_json(inbox: Inbox) -> dict[str, JsonValue]:
    """Return an inbox for programs."""
    return {
        "requests": [
            {"run": item.run_id, **item.request.model_dump(mode="json")} for item in inbox.waiting
        ],
        "unanswered": [{"run": run.run_id, "reason": run.reason} for run in inbox.unanswered],
        "more": inbox.more,
    }


def inbox_lines(inbox: Inbox, *, now: datetime, audience: str | None = None) -> list[str]:
    """Return an inbox for people."""
    lines: list[str] = []
    if inbox.waiting:
        rows = [TITLES, *(_row(item, now) for item in inbox.waiting)]
        lines += [*_table(rows), "", SETTLE_HINT]
    elif not inbox.unanswered:
        lines.append(f"Nothing waits for {audience or 'people'}.")
    lines += [f"{run.run_id} could not be asked: {run.reason}" for run in inbox.unanswered]
    if inbox.more:
        lines.append(f"More than {MAX_RUNS} runs wait; --audience and --tenant show fewer of them.")
    return lines


def _row(item: Waiting, now: datetime) -> tuple[str, ...]:
    request = item.request
    votes = "-" if request.kind == "question" else f"{len(request.approved_by)} of {request.quorum}"
    return (
        item.run_id,
        request.request_id,
        request.audience,
        spelled(now - request.opened_at),
        spelled(request.expires_at - now),
        votes,
        _asked(request),
    )


def _table(rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _asked(request: PendingRequest) -> str:
    if request.kind == "question":
        return cut(request.question or "", MAX_ASKED_BYTES)
    return call_text(request.tool, request.arguments, MAX_ASKED_BYTES)


def request_lines(item: Waiting, *, now: datetime) -> list[str]:
    """Return all that a person decides about, uncut: a call with its arguments, or a question."""
    request = item.request
    waits, left = spelled(now - request.opened_at), spelled(request.expires_at - now)
    which = f"run {item.run_id}, request {request.request_id} for {request.audience}"
    lines = [f"{which}: waits {waits}, expires in {left}", f"  {request.tool}"]
    about = {name: value for name, value in request.arguments.items() if name != "question"}
    if request.kind == "question":
        lines += [f"    | {line}" for line in (request.question or "").splitlines()]
        lines += [f"  to be answered with {_json(request.answer_schema)}"]
    lines += arguments_lines(about if request.kind == "question" else request.arguments)
    if request.edited_by:
        lines.append(f"  edited by {request.edited_by}")
    if request.quorum > 1:
        names = ", ".join(request.approved_by) or "nobody yet"
        lines.append(f"  approved by {names}; {request.quorum} have to")
    return lines


def arguments_lines(
    arguments: dict[str, JsonValue], edited: dict[str, JsonValue] | None = None
) -> list[str]:
    """Return arguments, one a line in exact JSON, and what an edit makes of them."""
    after = arguments if edited is None else edited
    return [
        f"    {name}: " + " -> ".join(dict.fromkeys([_at(arguments, name), _at(after, name)]))
        for name in {**arguments, **after}
    ]


def _at(arguments: dict[str, JsonValue], name: str) -> str:
    return _json(arguments[name]) if name in arguments else "(absent)"


def _json(value: JsonValue) -> str:
    return json.dumps(value, ensure_ascii=False)


def spelled(duration: timedelta) -> str:
    """Return a duration in its largest units: `40 s`, `3 min`, `2 h 5 min`, `3 d 4 h`."""
    seconds = max(0, int(duration.total_seconds()))
    minutes, hours, days = seconds // 60, seconds // 3_600, seconds // 86_400
    if not minutes:
        return f"{seconds} s"
    if not hours:
        return f"{minutes} min"
    if not days:
        return _two(hours, "h", minutes % 60, "min")
    return _two(days, "d", hours % 24, "h")


def _two(large: int, unit: str, small: int, of: str) -> str:
    return f"{large} {unit} {small} {of}" if small else f"{large} {unit}"


def printable(line: str) -> str:
    """Return a line that a terminal shows and does not obey: a model chooses what is in arguments."""
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in line
    )

"""The robot: the person of a storm. It decides about every request as the request's arguments say."""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Literal

from temporalio.client import WorkflowQueryFailedError
from temporalio.service import RPCError

from outlast import BadRequest, Client, OutlastError
from outlast.contracts.human import PendingRequest
from outlast.errors import Unavailable
from outlast.terminal.inbox import InboxEntry, read_inbox
from tests.long.chaos.agents import ASK
from tests.long.chaos.ledger import count_at

LOOK_S = 1.0
DECIDE_WITHIN_S = 10.0
LATE_BY = timedelta(seconds=1)
AT_ONCE = 12

Verb = Literal["approve", "edit", "deny", "answer", "late"]
Outcome = Literal["taken", "refused", "unknown"]


@dataclass(frozen=True)
class Vote:
    """One decision that was sent; `amount` is that of the arguments that were approved."""

    by: str
    verb: Verb
    outcome: Outcome
    amount: int = 0


class Robot:
    """Decides. `votes` are by run and request."""

    def __init__(self, client: Client, ledger_port: int) -> None:
        self.votes: defaultdict[tuple[str, str], list[Vote]] = defaultdict(list)
        self._client = client
        self._ledger_port = ledger_port
        self._late: dict[tuple[str, str], datetime] = {}

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator[None]:
        working = asyncio.create_task(self._work())
        try:
            yield
        finally:
            working.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await working

    async def _work(self) -> None:
        turns = asyncio.Semaphore(AT_ONCE)

        async def settle(entry: InboxEntry) -> None:
            async with turns:
                await self._settle(entry)

        while True:
            # The server may be down, or the worker that answers: look again.
            with contextlib.suppress(
                RPCError, TimeoutError, OutlastError, OSError, WorkflowQueryFailedError
            ):
                inbox = await asyncio.wait_for(read_inbox(self._client), 30)
                await asyncio.gather(*map(settle, inbox.entries))
                await self._decide_late()
            await asyncio.sleep(LOOK_S)

    async def _settle(self, entry: InboxEntry) -> None:
        run, request = self._client.get(entry.run_id), entry.request
        where = (run.id, request.request_id)
        if request.kind == "question":
            answer = await self._answer(request)
            await self._vote(where, "clerk", "answer", lambda: run.answer(request, answer))
            return
        amount = int(str(request.arguments["amount"]))
        match request.arguments["decide"]:
            case "deny":
                await self._vote(where, "ann", "deny", lambda: run.deny(request, by="ann"))
            case "edit" if request.edited_by is None:
                more = amount + 1
                edited = {**request.arguments, "amount": more}
                await self._vote(
                    where, "ann", "edit", lambda: run.edit(request, edited, by="ann"), more
                )
            case "edit":
                await self._vote(
                    where, "bo", "approve", lambda: run.approve(request, by="bo"), amount
                )
            case "late":
                self._late[where] = request.expires_at + LATE_BY
            case "signal":
                for by in ("ann", "bo"):
                    await self._signal(where, by, amount)
            case "approve":
                for by in ("ann", "bo"):
                    approve = partial(run.approve, request, by=by)
                    await self._vote(where, by, "approve", approve, amount)

    async def _answer(self, request: PendingRequest) -> str:
        if request.tool == ASK:
            return "blue"
        options = str(request.answer_schema)
        if "it happened" not in options:
            return "left as it is"
        arrived = await count_at(self._ledger_port, str(request.arguments["ref"]))
        return "it happened" if arrived else "it did not happen"

    async def _vote(
        self,
        where: tuple[str, str],
        by: str,
        verb: Verb,
        send: Callable[[], Awaitable[str]],
        amount: int = 0,
    ) -> Outcome:
        outcome: Outcome = "taken"
        try:
            await asyncio.wait_for(send(), DECIDE_WITHIN_S)
        except BadRequest:
            outcome = "refused"
        except (Unavailable, RPCError, TimeoutError):
            outcome = "unknown"
        self.votes[where].append(Vote(by, verb, outcome, amount))
        return outcome

    async def _signal(self, where: tuple[str, str], by: str, amount: int) -> None:
        run_id, request_id = where
        handle = self._client.temporal.get_workflow_handle(run_id)
        with contextlib.suppress(RPCError, TimeoutError):
            payload = {"request_id": request_id, "decision": "approve", "by": by}
            await asyncio.wait_for(handle.signal("decide", payload), DECIDE_WITHIN_S)
        self.votes[where].append(Vote(by, "approve", "unknown", amount))

    async def _decide_late(self) -> None:
        """Approve what has expired and waits no more: the run must refuse it."""
        now = datetime.now(UTC)
        for where in [where for where, since in self._late.items() if since < now]:
            await self._approve_late(*where)

    async def _approve_late(self, run_id: str, request_id: str) -> None:
        run = self._client.get(run_id)
        pending = await asyncio.wait_for(run.pending_requests(), DECIDE_WITHIN_S)
        if request_id in [request.request_id for request in pending]:
            return  # no worker has taken its expiry in yet: a decision still counts
        where = (run_id, request_id)
        vote = await self._vote(where, "ann", "late", lambda: run.approve(request_id, by="ann"))
        if vote != "unknown":
            del self._late[where]

"""Workers that are killed in the middle of a `write`: nothing is done twice, and every run ends."""

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bench.scripted_model_server import Request, Step
from bench.tables import Cell, Table
from outlast import BadRequest, Client
from outlast.client.runs import Run
from outlast.terminal.inbox import InboxEntry, read_inbox
from tests.conditions import until
from tests.long.kills.ledger import PLACES, Ledger, Place
from tests.long.site import ANSWER, calling, calling_all, local_tools, site

KILLS = 13
"""In each of two tests: with local tools and without."""

TOOLS = ("transfer_verified", "transfer_unverified")
INTERRUPTED = KILLS * len(TOOLS)


@dataclass(frozen=True)
class Payment:
    """One run: what its call is named, and where it is when its worker is killed."""

    order_id: str
    tool: str
    place: Place
    run: Run


def as_told(request: Request) -> Step:
    """Say, turn by turn, the decisions that the run's input holds, one a line; then answer."""
    given = next(message for message in request.messages if message["role"] == "user")
    content = given["content"]
    # What looks like a decision or a result reaches a model as what a person said.
    text = json.loads(content)["said"] if content.startswith('{"said":') else content
    return Step([*text.splitlines(), ANSWER][request.assistant_messages])


@contextlib.asynccontextmanager
async def clerk(client: Client, ledger: Ledger) -> AsyncIterator[Counter[str]]:
    """Answer each question whether a call happened with what the ledger knows; count them by run."""
    answered: Counter[str] = Counter()

    async def answer(waiting: InboxEntry) -> None:
        arrived = ledger.count(str(waiting.request.arguments["order_id"]))
        text = "it happened" if arrived else "it did not happen"
        # Refused if a worker that was killed took this answer, and did not live to say so.
        with contextlib.suppress(BadRequest):
            await client.get(waiting.run_id).answer(waiting.request, text, by="clerk")
            answered[waiting.run_id] += 1

    async def work() -> None:
        while True:
            for waiting in (await read_inbox(client)).entries:
                await answer(waiting)
            await asyncio.sleep(1)

    working = asyncio.create_task(work())
    try:
        yield answered
    finally:
        working.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await working


def table_of(payments: list[Payment], ledger: Ledger, verified: Counter[str]) -> Table:
    """Return what happened, by tool and by where the kill struck."""
    rows: list[list[Cell]] = []
    for tool in TOOLS:
        for place in PLACES:
            these = [one for one in payments if (one.tool, one.place) == (tool, place)]
            counts = [ledger.count(one.order_id) for one in these]
            people = sum(verified[one.run.id] for one in these)
            rows.append([tool, place, len(these), sum(counts), sum(n > 1 for n in counts), people])
    title = f"{INTERRUPTED} calls of a `write` in {KILLS} kills -9"
    columns = ["tool", "killed … the effect", "calls", "effects", "double", "people asked"]
    return Table(title, columns, rows)


async def local_calls(client: Client, payments: list[Payment], tool: str) -> int:
    """Return how many calls of a tool completed as local activities."""
    count = 0
    for payment in payments:
        handle = client.temporal.get_workflow_handle(payment.run.id)
        for event in (await handle.fetch_history()).events:
            marker = event.marker_recorded_event_attributes
            if marker.marker_name == "core_local_activity":
                call = json.loads(marker.details["data"].payloads[0].data)
                count += call["activity_type"] == tool
    return count


@pytest.mark.timeout(300)
@pytest.mark.parametrize("has_local_tools", [True, False], ids=["local", "ordinary"])
async def test_writes_whose_worker_is_killed_happen_once_each(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], has_local_tools: bool
) -> None:
    """Each run makes a short call, and then another beside its write, so that a kill interrupts both."""
    payments: list[Payment] = []
    async with (
        Ledger() as ledger,
        site(
            tmp_path,
            as_told,
            agents="tests.long.kills.agents",
            settings=local_tools(enabled=has_local_tools),
        ) as on,
        clerk(on.client, ledger) as verified,
    ):
        for kill in range(KILLS):
            place = PLACES[kill % len(PLACES)]
            for tool in TOOLS:
                order_id = f"{tool}-{kill}"
                ledger.hold(order_id, place)
                transfer = {"order_id": order_id, "port": ledger.port}
                both = calling_all((tool, transfer), ("check_balance", {}))
                run = await on.client.start("payer", f"{calling('check_balance')}\n{both}")
                payments.append(Payment(order_id, tool, place, run))
            await until(lambda: {one.order_id for one in payments} <= ledger.held)
            await on.worker.kill()
            await on.worker.start()
        results = await asyncio.gather(*(one.run.result() for one in payments))
        short = await local_calls(on.client, payments, "check_balance")
    with capsys.disabled():
        print(f"\n{table_of(payments, ledger, verified)}")
    assert bool(short) == has_local_tools
    assert [result.output for result in results] == ["done"] * INTERRUPTED
    assert Counter(name for name, _ in ledger.arrivals) == {one.order_id: 1 for one in payments}
    assert len({key for _, key in ledger.arrivals}) == INTERRUPTED
    unverified = {one.run.id for one in payments if one.tool == "transfer_unverified"}
    assert set(verified) == unverified

"""Sagas on real processes: what was done is undone in reverse, once each, whatever dies meanwhile."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from temporalio.api.enums.v1 import EventType

from outlast import RunFailed
from outlast.client.runs import Run
from tests.acceptance.processes import WorkerUnderTest
from tests.conditions import until
from tests.long.kills.ledger import PLACES, Ledger, Place
from tests.long.kills.test_kills import as_told
from tests.long.site import Site, calling, site
from tests.stage import pending

DONE = ["book flight", "book hotel", "charge"]
UNDONE = ["cancel hotel", "cancel flight"]


async def started(on: Site, ledger: Ledger, book: str = "book") -> Run:
    """Start a run of three effects, the third of which fails."""
    things = [calling(book, thing=thing, port=ledger.port) for thing in ("flight", "hotel")]
    return await on.client.start(
        "traveller", "\n".join([*things, calling("charge", port=ledger.port)])
    )


def effects_at(ledger: Ledger) -> list[str]:
    """Return the effects in the order in which they first came, repeats dropped by their key."""
    return [name for name, _ in dict.fromkeys(ledger.arrivals)]


@pytest.mark.timeout(90)
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("struck", UNDONE)
async def test_a_worker_killed_in_a_compensation_leaves_each_effect_undone_once(
    tmp_path: Path, struck: str, place: Place
) -> None:
    async with Ledger() as ledger, site(tmp_path, as_told, agents="tests.long.kills.agents") as on:
        ledger.hold(struck, place)
        run = await started(on, ledger)
        await until(lambda: struck in ledger.held)
        await on.worker.kill()
        await on.worker.start()
        with pytest.raises(
            RunFailed, match=r"book \(call 2.1\): undone, book \(call 1.1\): undone"
        ):
            await run.result()
    assert effects_at(ledger) == [*DONE, *UNDONE]
    repeated = [name for name in DONE + UNDONE if ledger.count(name) > 1]
    assert repeated == ([] if place == "before" else [struck])
    assert ledger.count(struck) <= 2


@pytest.mark.timeout(90)
async def test_a_compensation_that_is_no_more_repeatable_is_put_to_a_person(tmp_path: Path) -> None:
    async with Ledger() as ledger, site(tmp_path, as_told, agents="tests.long.kills.agents") as on:
        ledger.hold("cancel hotel", "during")
        run = await started(on, ledger, book="book_unrepeatably")
        await until(lambda: "cancel hotel" in ledger.held)
        await on.worker.kill()
        await on.worker.start()
        request = await pending(run)
        assert "cancel_once could not undo book_unrepeatably (call 2.1)" in (request.question or "")
        assert ledger.count("cancel flight") == 0
        await run.answer(request, "undone by hand", by="ann")
        with pytest.raises(
            RunFailed, match=r"\(call 2.1\): undone_by_hand, .*\(call 1.1\): undone"
        ):
            await run.result()
    assert [name for name, _ in ledger.arrivals] == [*DONE, *UNDONE]


@pytest.mark.timeout(90)
async def test_a_worker_killed_between_two_compensations_loses_neither(tmp_path: Path) -> None:
    async with (
        Ledger() as ledger,
        site(tmp_path, as_told, agents="tests.long.kills.agents", roles="workflows,generate") as on,
        tools_elsewhere(on, tmp_path),
    ):
        ledger.hold("cancel hotel", "after")
        run = await started(on, ledger)
        await until(lambda: "cancel hotel" in ledger.held)
        await on.worker.kill()
        ledger.release("cancel hotel")
        await until_completed(on, run, "cancel")
        assert effects_at(ledger) == [*DONE, UNDONE[0]]
        await on.worker.start()
        with pytest.raises(
            RunFailed, match=r"book \(call 2.1\): undone, book \(call 1.1\): undone"
        ):
            await run.result()
    assert [name for name, _ in ledger.arrivals] == [*DONE, *UNDONE]


@asynccontextmanager
async def tools_elsewhere(on: Site, tmp_path: Path) -> AsyncIterator[None]:
    """Serve tools in a process of their own, so that the workflow's can die while a tool ends."""
    worker = WorkerUnderTest(
        address=on.temporal.address,
        model_url=on.model.url,
        agents="tests.long.kills.agents",
        log=tmp_path / "tools.log",
        roles="tools",
    )
    await worker.start()
    try:
        yield
    finally:
        await worker.terminate()


async def until_completed(on: Site, run: Run, tool: str) -> None:
    """Wait until the server has recorded that a call of a tool completed."""
    handle = on.client.temporal.get_workflow_handle(run.id)
    scheduled = 0
    async for event in handle.fetch_history_events(wait_new_event=True):
        if event.activity_task_scheduled_event_attributes.activity_type.name == tool:
            scheduled = event.event_id
        completed = event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED
        if (
            completed
            and event.activity_task_completed_event_attributes.scheduled_event_id == scheduled
        ):
            return

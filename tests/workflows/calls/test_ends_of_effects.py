"""Runs that end while a call is under way: its effect is recorded and undone, or named in the result."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
from outlast_workers.settings import Settings
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client

from outlast import Agent, Approval, tool
from outlast.agents.tools import Tool
from outlast.client.runs import Run
from outlast.contracts.results import AgentResult
from outlast.testing import ScriptedModel, answer, call, calls
from tests.stage import Flag, Stage, on_stage, pending, staged_settings

EFFECTS: list[str] = []
UNDONE: list[str] = []
FOUND: dict[str, str | None] = {}
BEGUN = Flag()
GO_ON = Flag()
VERIFYING = Flag()


@pytest.fixture(autouse=True)
def _fresh() -> None:
    EFFECTS.clear()
    UNDONE.clear()
    FOUND.clear()
    for event in (BEGUN, GO_ON, VERIFYING):
        event.clear()


@tool(effect="idempotent")
async def cancel(ref: str) -> None:
    """Undo a call."""
    UNDONE.append(ref)


@tool(effect="read")
async def find(ref: str) -> str | None:
    """Find a call, when the test lets it."""
    VERIFYING.set()
    await GO_ON.wait()
    return f"made {ref}" if ref in EFFECTS else None


async def make(ref: str) -> str:
    EFFECTS.append(ref)
    BEGUN.set()
    await GO_ON.wait()
    return f"made {ref}"


def make_in_thread(ref: str) -> str:
    EFFECTS.append(ref)
    BEGUN.set()
    while not GO_ON.is_set():
        time.sleep(0.05)
    return f"made {ref}"


async def make_late(ref: str) -> str:
    BEGUN.set()
    await GO_ON.wait()
    EFFECTS.append(ref)
    return f"made {ref}"


@tool(effect="write", compensate=cancel)
async def book(ref: str) -> str:
    """Book."""
    return await make(ref)


@tool(effect="write", compensate=cancel, verify=find)
async def reserve(ref: str) -> str:
    """Reserve."""
    return await make(ref)


@tool(effect="idempotent", compensate=cancel)
async def put(ref: str) -> str:
    """Put."""
    return await make(ref)


@tool(effect="write", compensate=cancel)
def book_in_thread(ref: str) -> str:
    """Book."""
    return make_in_thread(ref)


@tool(effect="write", compensate=cancel, verify=find)
def reserve_in_thread(ref: str) -> str:
    """Reserve."""
    return make_in_thread(ref)


@tool(effect="write", compensate=cancel)
async def book_late(ref: str) -> str:
    """Book at the end."""
    return await make_late(ref)


@tool(effect="write", compensate=cancel, verify=find)
async def reserve_late(ref: str) -> str:
    """Reserve at the end."""
    return await make_late(ref)


@tool(effect="irreversible", approval=Approval(audience="leads"))
async def pay(ref: str) -> str:
    """Pay."""
    return await make(ref)


@tool(effect="write", compensate=cancel, timeout=timedelta(seconds=1))
async def book_lost(ref: str) -> str:
    """Book, and take too long."""
    EFFECTS.append(ref)
    await asyncio.sleep(30)
    return ref


@tool(effect="write", compensate=cancel, verify=find, timeout=timedelta(seconds=1))
async def reserve_lost(ref: str) -> str:
    """Reserve, and take too long."""
    EFFECTS.append(ref)
    await asyncio.sleep(30)
    return ref


@tool(effect="write", timeout=timedelta(seconds=1))
async def note_lost(ref: str) -> str:
    """Write what nothing can undo, and take too long."""
    EFFECTS.append(ref)
    await asyncio.sleep(30)
    return ref


TOOLS: list[Tool[Any, ..., Any]] = [
    *(book, reserve, put, book_in_thread, reserve_in_thread, book_late, reserve_late, pay),
    *(book_lost, reserve_lost, note_lost),
]
doer = Agent(name="doer", instructions="Do.", tools=TOOLS)
UNDER_WAY: list[Tool[Any, ..., Any]] = [
    book,
    reserve,
    put,
    book_in_thread,
    reserve_in_thread,
    book_late,
    reserve_late,
]
named = lambda entry: entry.name  # noqa: E731


class House:
    """A stage whose worker of workflows can be away while others work."""

    def __init__(self, temporal: Client, model: ScriptedModel, settings: Settings) -> None:
        self._temporal = temporal
        self._model = model
        self._settings = settings

    @asynccontextmanager
    async def serve(self, *roles: str) -> AsyncIterator[Stage]:
        settings = self._settings.model_copy(update={"roles": roles})
        async with on_stage(self._temporal, self._model, [doer], settings=settings) as stage:
            yield stage


def house(temporal: Client, *script: Any, cached: int = 1000) -> House:
    return House(temporal, ScriptedModel(list(script)), staged_settings(cached=cached))


async def until(look: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(40):
        while not await look():
            await asyncio.sleep(0.05)


async def has_event(temporal: Client, run: Run, kind: EventType.ValueType, count: int = 1) -> None:
    async def look() -> bool:
        history = await temporal.get_workflow_handle(run.id).fetch_history()
        return sum(event.event_type == kind for event in history.events) >= count

    await until(look)


ENDS: dict[str, dict[str, Any]] = {
    "cancelled before": {"is_first": True},
    "cancelled after": {"is_first": False},
    "deadline": {"deadline_s": 4.0},
}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("used", [book, reserve, put], ids=named)
async def test_an_effect_that_completes_as_its_run_ends_is_undone(
    temporal: Client, used: Tool[Any, ..., Any], end: str, cached: int
) -> None:
    at = house(temporal, call(used.name, ref="r"), cached=cached)
    deadline_s = ENDS[end].get("deadline_s")
    async with at.serve("tools"):
        async with at.serve("workflows", "generate") as stage:
            limits = {"deadline_s": deadline_s} if deadline_s else {}
            run = await stage.start("doer", limits=limits)
            await asyncio.wait_for(BEGUN.wait(), 40)
        # Nobody works on the run now, so both events wait for one workflow task.
        if end == "cancelled before":
            await run.cancel()
        GO_ON.set()
        await has_event(temporal, run, EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED, 2)
        if end == "cancelled after":
            await run.cancel()
        await asyncio.sleep(4 if deadline_s else 0)
        async with at.serve("workflows", "generate") as stage:
            result = await stage.started(run.id).result()
    assert [(each.call_id, each.outcome) for each in result.compensations] == [("1.1", "undone")]
    assert (EFFECTS, UNDONE) == (["r"], ["r"])


@pytest.mark.parametrize("used", UNDER_WAY, ids=named)
@pytest.mark.parametrize("end", ["cancel", "deadline"])
async def test_an_effect_under_way_is_waited_for_and_undone(
    temporal: Client, used: Tool[Any, ..., Any], end: str
) -> None:
    at = house(temporal, call(used.name, ref="r"), cached=0)
    async with at.serve("workflows", "generate", "tools") as stage:
        limits = {"deadline_s": 2} if end == "deadline" else {}
        run = await stage.start("doer", limits=limits)
        await asyncio.wait_for(BEGUN.wait(), 40)
        if end == "cancel":
            await run.cancel()
        await asyncio.sleep(3)  # a heartbeat brings the cancellation to the worker
        GO_ON.set()
        result = await run.result()
    assert result.stop_reason == ("cancelled" if end == "cancel" else "deadline")
    assert [(each.call_id, each.outcome) for each in result.compensations] == [("1.1", "undone")]
    assert (EFFECTS, UNDONE) == (["r"], ["r"])


@pytest.mark.parametrize("used", [book, reserve, put, pay], ids=named)
async def test_a_call_that_no_worker_has_taken_is_not_waited_for(
    temporal: Client, used: Tool[Any, ..., Any]
) -> None:
    at = house(temporal, call(used.name, ref="r"), cached=0)
    async with at.serve("workflows", "generate") as stage:
        run = await stage.start("doer")
        if used is pay:
            await run.approve(await pending(run), by="ann")
        await has_event(temporal, run, EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED, 2)
        await run.cancel()
        result = await asyncio.wait_for(run.result(), 40)
    assert result.status == "stopped"
    assert [(each.call_id, each.outcome) for each in result.compensations] == (
        [("1.1", "not_made")] if used is pay else []
    )
    assert EFFECTS == []


@pytest.mark.parametrize("order", ["approved first", "cancelled first"])
async def test_the_result_names_an_approved_call_that_was_not_made(
    temporal: Client, order: str, cached: int
) -> None:
    at = house(temporal, call("pay", ref="r"), cached=cached)
    async with at.serve("tools"):
        async with at.serve("workflows", "generate") as stage:
            run = await stage.start("doer")
            await pending(run)
        handle = temporal.get_workflow_handle(run.id)
        decision = {"request_id": "1.1", "decision": "approve", "by": "ann"}
        if order == "cancelled first":
            await run.cancel()
        await handle.signal("decide", decision)
        if order == "approved first":
            await run.cancel()
        async with at.serve("workflows", "generate") as stage:
            result = await stage.started(run.id).result()
    assert [each.outcome for each in result.decisions] == ["approved"]
    assert [(each.call_id, each.outcome) for each in result.compensations] == [("1.1", "not_made")]
    assert EFFECTS == []


async def ended(run: Run, end: str) -> None:
    if end == "cancel":
        await run.cancel()
    await asyncio.sleep(1 if end == "cancel" else 5)


def limits_of(end: str) -> dict[str, float]:
    return {"deadline_s": 5} if end == "deadline" else {}


@pytest.mark.parametrize("end", ["cancel", "deadline"])
@pytest.mark.parametrize("happened", [True, False])
async def test_a_call_that_is_being_verified_as_its_run_ends_is_not_forgotten(
    temporal: Client, end: str, happened: bool
) -> None:
    at = house(temporal, call("reserve_lost", ref="r"), cached=0)
    async with at.serve("workflows", "generate", "tools") as stage:
        run = await stage.start("doer", limits=limits_of(end))
        await asyncio.wait_for(VERIFYING.wait(), 40)
        if not happened:
            EFFECTS.clear()
        await ended(run, end)
        GO_ON.set()
        result = await run.result()
    assert [each.outcome for each in result.compensations] == (["undone"] if happened else [])
    assert (["r"] if happened else []) == UNDONE
    assert (["r"] if happened else []) == EFFECTS  # and it is not made again


@pytest.mark.parametrize("end", ["cancel", "deadline"])
@pytest.mark.parametrize(
    ("said", "undone"), [("it happened", ["r"]), ("it did not happen", []), (None, [])]
)
async def test_a_person_still_answers_about_a_call_whose_run_ends(
    temporal: Client, end: str, said: str | None, undone: list[str]
) -> None:
    at = house(temporal, call("book_lost", ref="r"), cached=0)
    async with at.serve("workflows", "generate", "tools") as stage:
        run = await stage.start("doer", limits=limits_of(end))
        request = await pending(run)
        await ended(run, end)
        if said is None:
            await run.deny(request, by="bo")
        else:
            await run.answer(request, said, by="bo")
        result = await run.result()
    assert undone == UNDONE
    assert EFFECTS == ["r"]
    outcomes = {"it happened": ["undone"], "it did not happen": [], None: ["unknown"]}
    assert [each.outcome for each in result.compensations] == outcomes[said]


@pytest.mark.parametrize("end", ["cancel", "deadline"])
async def test_a_call_that_nothing_undoes_is_named_and_not_waited_for(
    temporal: Client, end: str
) -> None:
    at = house(temporal, call("note_lost", ref="r"), cached=0)
    async with at.serve("workflows", "generate", "tools") as stage:
        run = await stage.start("doer", limits=limits_of(end))
        await pending(run)
        await ended(run, end)
        result = await asyncio.wait_for(run.result(), 40)
    (outcome,) = result.compensations
    assert (outcome.call_id, outcome.outcome) == ("1.1", "unknown")
    assert "it is unknown whether it happened" in outcome.detail


async def test_several_calls_end_in_their_own_ways(temporal: Client, cached: int) -> None:
    batch = calls(
        call("book", ref="b"),
        call("note_lost", ref="n"),
        call("pay", ref="p"),
        call("put", ref="q"),
    )
    at = house(temporal, batch, answer("never"), cached=cached)
    async with at.serve("workflows", "generate", "tools") as stage:
        run = await stage.start("doer")

        async def both_pend() -> bool:
            return len(await run.pending_requests()) == 2

        await asyncio.wait_for(BEGUN.wait(), 40)
        await until(both_pend)
        await run.cancel()
        await asyncio.sleep(1)
        GO_ON.set()
        result: AgentResult = await run.result()
    outcomes = sorted((each.call_id, each.outcome) for each in result.compensations)
    assert outcomes == [("1.1", "undone"), ("1.2", "unknown"), ("1.4", "undone")]
    assert sorted(UNDONE) == ["b", "q"]

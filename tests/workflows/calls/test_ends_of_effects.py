"""Runs that end while a call is under way: its effect is recorded and undone, or named in the result.

The cases of a test run side by side, because each waits for seconds.
"""

import asyncio
import itertools
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, NamedTuple

import pytest
from outlast_workers.settings import Settings
from outlast_workflows.time_limits import DEADLINE_SUMMARY
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client

from outlast import Agent, Approval, tool
from outlast.agents.tools import Tool
from outlast.client.runs import Run
from outlast.contracts.results import AgentResult
from outlast.model_server import Prompt
from outlast.testing import ScriptedModel, answer, call, calls
from outlast.turns import CallsTurn
from tests.stage import Flag, Stage, on_stage, pending, staged_settings

WITHIN_S = 40
"""What a test waits for comes within this time on a busy machine."""


class Effect:
    """What one call does, and where it waits for the test."""

    def __init__(self) -> None:
        self.made = 0
        self.undone = 0
        self.begun, self.verifying, self.may_go_on = Flag(), Flag(), Flag()


EFFECTS: dict[str, Effect] = {}
REFS = itertools.count()


def new_ref() -> str:
    """Return the argument of a call that no other call has."""
    ref = f"r{next(REFS)}"
    EFFECTS[ref] = Effect()
    return ref


@tool(effect="idempotent")
async def cancel(ref: str) -> None:
    """Undo a call."""
    EFFECTS[ref].undone += 1


@tool(effect="read")
async def find(ref: str) -> str | None:
    """Find a call, when the test lets it."""
    EFFECTS[ref].verifying.set()
    await EFFECTS[ref].may_go_on.wait()
    return f"made {ref}" if EFFECTS[ref].made else None


async def make(ref: str) -> str:
    EFFECTS[ref].made += 1
    EFFECTS[ref].begun.set()
    await EFFECTS[ref].may_go_on.wait()
    return f"made {ref}"


def make_in_thread(ref: str) -> str:
    EFFECTS[ref].made += 1
    EFFECTS[ref].begun.set()
    while not EFFECTS[ref].may_go_on.is_set():
        time.sleep(0.05)
    return f"made {ref}"


async def make_late(ref: str) -> str:
    EFFECTS[ref].begun.set()
    await EFFECTS[ref].may_go_on.wait()
    EFFECTS[ref].made += 1
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
    EFFECTS[ref].made += 1
    EFFECTS[ref].begun.set()
    await asyncio.sleep(30)
    return ref


@tool(effect="write", compensate=cancel, verify=find, timeout=timedelta(seconds=1))
async def reserve_lost(ref: str) -> str:
    """Reserve, and take too long."""
    EFFECTS[ref].made += 1
    EFFECTS[ref].begun.set()
    await asyncio.sleep(30)
    return ref


@tool(effect="write", timeout=timedelta(seconds=1))
async def note_lost(ref: str) -> str:
    """Write what nothing can undo, and take too long."""
    EFFECTS[ref].made += 1
    EFFECTS[ref].begun.set()
    await asyncio.sleep(30)
    return ref


TOOLS: list[Tool[Any, ..., Any]] = [
    *(book, reserve, put, book_in_thread, reserve_in_thread, book_late, reserve_late, pay),
    *(book_lost, reserve_lost, note_lost),
]
doer = Agent(name="doer", instructions="Do.", tools=TOOLS)
UNDER_WAY: list[Tool[Any, ..., Any]] = [
    *(book, reserve, put, book_in_thread, reserve_in_thread, book_late, reserve_late)
]


def decide(prompt: Prompt) -> Any:
    """Make the calls that the input of the run names, and then answer."""
    if any(isinstance(turn, CallsTurn) for turn in prompt.turns):
        return answer("never")
    named = re.findall(r"(\w+)@(\w+)", str(prompt.messages[-1]["content"]))
    return calls(*(call(name, ref=ref) for name, ref in named))


class House:
    """A stage whose worker of workflows can be away while others work."""

    def __init__(self, temporal: Client, *, cached: int = 0) -> None:
        self._temporal = temporal
        self._settings = staged_settings(cached=cached)

    @asynccontextmanager
    async def serve(self, *roles: str) -> AsyncIterator[Stage]:
        settings: Settings = self._settings.model_copy(update={"roles": roles})
        model = ScriptedModel([decide], repeat_last=True)
        async with on_stage(self._temporal, model, [doer], settings=settings) as stage:
            yield stage


class Case(NamedTuple):
    """A run with one call that ends by a cancellation or at its deadline."""

    tool: Tool[Any, ..., Any]
    end: str
    run: Run
    effect: Effect

    async def ended(self, temporal: Client, *, cancelled_for_s: float = 1) -> None:
        """Let the run end. Its call goes on."""
        if self.end == "deadline":
            await deadline_fired(temporal, self.run)
        else:
            await self.run.cancel()
            await asyncio.sleep(cancelled_for_s)

    def outcomes(self, result: AgentResult) -> list[tuple[str, str]]:
        assert result.stop_reason == ("deadline" if self.end == "deadline" else "cancelled")
        return [(each.call_id, each.outcome) for each in result.compensations]


async def begin(
    stage: Stage,
    used: Tool[Any, ..., Any],
    end: str,
    until_begun: Callable[[Run, Effect], Awaitable[object]],
    *,
    deadline_s: float,
) -> Case:
    """Start a run and wait until it has begun its call. It gets more time if its deadline came first."""
    while True:
        ref = new_ref()
        limits = {"deadline_s": deadline_s} if end == "deadline" else {}
        run = await stage.start("doer", f"{used.name}@{ref}", limits=limits)
        begun = asyncio.ensure_future(until_begun(run, EFFECTS[ref]))
        ended = asyncio.ensure_future(run.result())
        await asyncio.wait([begun, ended], return_when="FIRST_COMPLETED", timeout=WITHIN_S)
        is_begun = begun.done()
        for each in (begun, ended):
            each.cancel()
        await asyncio.gather(begun, ended, return_exceptions=True)
        if is_begun:
            return Case(used, end, run, EFFECTS[ref])
        assert end == "deadline", "the call has not begun"
        deadline_s *= 2


async def deadline_fired(temporal: Client, run: Run) -> None:
    async def look() -> bool:
        events = (await temporal.get_workflow_handle(run.id).fetch_history()).events
        deadlines = {
            event.timer_started_event_attributes.timer_id
            for event in events
            if DEADLINE_SUMMARY in event.user_metadata.summary.data.decode()
        }
        return any(event.timer_fired_event_attributes.timer_id in deadlines for event in events)

    await until(look)


async def has_begun(run: Run, effect: Effect) -> None:
    await effect.begun.wait()


async def is_verifying(run: Run, effect: Effect) -> None:
    await effect.begun.wait()
    await effect.verifying.wait()


async def waits_for_a_person(run: Run, effect: Effect) -> None:
    await pending(run)


async def until(look: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(WITHIN_S):
        while not await look():
            await asyncio.sleep(0.05)


async def has_event(temporal: Client, run: Run, kind: EventType.ValueType, count: int = 1) -> None:
    async def look() -> bool:
        history = await temporal.get_workflow_handle(run.id).fetch_history()
        return sum(event.event_type == kind for event in history.events) >= count

    await until(look)


@pytest.mark.parametrize("used", [book, reserve, put], ids=lambda used: used.name)
async def test_an_effect_that_completes_as_its_run_ends_is_undone(
    temporal: Client, used: Tool[Any, ..., Any], cached: int
) -> None:
    async def undone(end: str) -> None:
        at = House(temporal, cached=cached)
        async with at.serve("tools"):
            async with at.serve("workflows", "generate") as stage:
                case = await begin(stage, used, end, has_begun, deadline_s=1.5)
            # Nobody works on the run now, so both events wait for one workflow task.
            if end == "cancelled before":
                await case.run.cancel()
            case.effect.may_go_on.set()
            kind = EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED
            await has_event(temporal, case.run, kind, 2)
            if end == "cancelled after":
                await case.run.cancel()
            if end == "deadline":
                await case.ended(temporal)
            async with at.serve("workflows", "generate") as stage:
                result = await stage.started(case.run.id).result()
        assert case.outcomes(result) == [("1.1", "undone")], case
        assert (case.effect.made, case.effect.undone) == (1, 1), case

    await asyncio.gather(*map(undone, ("cancelled before", "cancelled after", "deadline")))


@pytest.mark.parametrize("end", ["cancel", "deadline"])
async def test_an_effect_under_way_is_waited_for_and_undone(temporal: Client, end: str) -> None:
    async def undone(used: Tool[Any, ..., Any]) -> None:
        async with House(temporal).serve("workflows", "generate", "tools") as stage:
            case = await begin(stage, used, end, has_begun, deadline_s=1.5)
            # A heartbeat brings a cancellation to the worker.
            await case.ended(temporal, cancelled_for_s=3)
            case.effect.may_go_on.set()
            assert case.outcomes(await case.run.result()) == [("1.1", "undone")], case
        assert (case.effect.made, case.effect.undone) == (1, 1), case

    await asyncio.gather(*map(undone, UNDER_WAY))


@pytest.mark.parametrize("used", [book, reserve, put, pay], ids=lambda used: used.name)
async def test_a_call_that_no_worker_has_taken_is_not_waited_for(
    temporal: Client, used: Tool[Any, ..., Any]
) -> None:
    ref = new_ref()
    async with House(temporal).serve("workflows", "generate") as stage:
        run = await stage.start("doer", f"{used.name}@{ref}")
        if used is pay:
            await run.approve(await pending(run), by="ann")
        await has_event(temporal, run, EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED, 2)
        await run.cancel()
        result = await asyncio.wait_for(run.result(), WITHIN_S)
    assert result.status == "stopped"
    assert [(each.call_id, each.outcome) for each in result.compensations] == (
        [("1.1", "not_made")] if used is pay else []
    )
    assert EFFECTS[ref].made == 0


@pytest.mark.parametrize("is_cancelled_first", [False, True])
async def test_the_result_names_an_approved_call_that_was_not_made(
    temporal: Client, is_cancelled_first: bool, cached: int
) -> None:
    at, ref = House(temporal, cached=cached), new_ref()
    async with at.serve("tools"):
        async with at.serve("workflows", "generate") as stage:
            run = await stage.start("doer", f"pay@{ref}")
            await pending(run)
        handle = temporal.get_workflow_handle(run.id)
        decision = {"request_id": "1.1", "decision": "approve", "by": "ann"}
        if is_cancelled_first:
            await run.cancel()
        await handle.signal("decide", decision)
        if not is_cancelled_first:
            await run.cancel()
        async with at.serve("workflows", "generate") as stage:
            result = await stage.started(run.id).result()
    assert [each.outcome for each in result.decisions] == ["approved"]
    assert [(each.call_id, each.outcome) for each in result.compensations] == [("1.1", "not_made")]
    assert EFFECTS[ref].made == 0


@pytest.mark.parametrize("made", [1, 0])
async def test_a_call_that_is_being_verified_as_its_run_ends_is_not_forgotten(
    temporal: Client, made: int
) -> None:
    async def verified(end: str) -> None:
        async with House(temporal).serve("workflows", "generate", "tools") as stage:
            case = await begin(stage, reserve_lost, end, is_verifying, deadline_s=3)
            case.effect.made = made
            await case.ended(temporal)
            case.effect.may_go_on.set()
            result = await case.run.result()
        assert case.outcomes(result) == ([("1.1", "undone")] if made else []), case
        assert case.effect.undone == made, case
        assert case.effect.made == made, "it is not made again"

    await asyncio.gather(verified("cancel"), verified("deadline"))


@pytest.mark.parametrize(
    ("text", "outcomes"),
    [("it happened", ["undone"]), ("it did not happen", []), (None, ["unknown"])],
)
async def test_a_person_still_answers_about_a_call_whose_run_ends(
    temporal: Client, text: str | None, outcomes: list[str]
) -> None:
    async def answered(end: str) -> None:
        async with House(temporal).serve("workflows", "generate", "tools") as stage:
            case = await begin(stage, book_lost, end, waits_for_a_person, deadline_s=3)
            request = await pending(case.run)
            await case.ended(temporal)
            if text is None:
                await case.run.deny(request, by="bo")
            else:
                await case.run.answer(request, text, by="bo")
            result = await case.run.result()
        assert case.outcomes(result) == [("1.1", outcome) for outcome in outcomes], case
        assert (case.effect.made, case.effect.undone) == (1, outcomes.count("undone")), case

    await asyncio.gather(answered("cancel"), answered("deadline"))


async def test_a_call_that_nothing_undoes_is_named_and_not_waited_for(temporal: Client) -> None:
    async def named(end: str) -> None:
        async with House(temporal).serve("workflows", "generate", "tools") as stage:
            case = await begin(stage, note_lost, end, waits_for_a_person, deadline_s=3)
            await case.ended(temporal)
            result = await asyncio.wait_for(case.run.result(), WITHIN_S)
        assert case.outcomes(result) == [("1.1", "unknown")], case
        assert "it is unknown whether it happened" in result.compensations[0].detail

    await asyncio.gather(named("cancel"), named("deadline"))


async def test_several_calls_end_in_their_own_ways(temporal: Client, cached: int) -> None:
    tools = (book, note_lost, pay, put)
    refs = [new_ref() for _ in tools]
    named = " ".join(f"{used.name}@{ref}" for used, ref in zip(tools, refs, strict=True))
    async with House(temporal, cached=cached).serve("workflows", "generate", "tools") as stage:
        run = await stage.start("doer", named)

        async def both_pend() -> bool:
            return len(await run.pending_requests()) == 2

        await asyncio.wait_for(EFFECTS[refs[0]].begun.wait(), WITHIN_S)
        await until(both_pend)
        await run.cancel()
        await asyncio.sleep(1)
        for ref in refs:
            EFFECTS[ref].may_go_on.set()
        result = await run.result()
    outcomes = sorted((each.call_id, each.outcome) for each in result.compensations)
    assert outcomes == [("1.1", "undone"), ("1.2", "unknown"), ("1.4", "undone")]
    assert [EFFECTS[ref].undone for ref in refs] == [1, 0, 0, 1]

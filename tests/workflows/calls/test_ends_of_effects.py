"""Runs that end while a call is under way: its effect is recorded and undone, or named in the result.

The cases of a test run side by side, because each waits for seconds.
"""

import asyncio
from typing import Any

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client

from outlast.agents.tools import Tool
from tests.stage import pending
from tests.workflows.calls.effects_under_way import (
    EFFECTS,
    UNDER_WAY,
    WITHIN_S,
    House,
    begin,
    book,
    book_lost,
    has_begun,
    has_event,
    is_verifying,
    new_ref,
    note_lost,
    pay,
    put,
    reserve,
    reserve_lost,
    until,
    waits_for_a_person,
)


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

"""Effects: undone when a run does not complete, and never repeated blindly."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from outlast_activities.policies.attempts import TOOL_ATTEMPTS
from temporalio.client import Client

from outlast import Agent, Approval, DefinitionError, RunFailed, ToolContext, tool
from outlast.client.runs import Run
from outlast.testing import ScriptedModel, answer, call
from tests.stage import on_stage, pending

world: list[str] = []
keys: list[str] = []
broken: set[str] = set()


@pytest.fixture(autouse=True)
def _empty_world() -> None:
    world.clear()
    keys.clear()
    broken.clear()


@tool(effect="idempotent")
def cancel_flight(seat: str, result: str) -> str:
    """Cancel a flight."""
    if "cancel_flight" in broken:
        raise ValueError("the airline is closed")
    world.append(f"cancelled {seat} {result}")
    return "ok"


@tool(effect="write", compensate=cancel_flight)
def book_flight(context: ToolContext, seat: str, meal: str = "none") -> str:
    """Book a flight."""
    keys.append(context.idempotency_key)
    world.append(f"booked {seat}")
    return f"ticket-{seat}"


@tool(effect="write")
def charge(amount_usd: float) -> str:
    """Charge a card."""
    raise ValueError("declined by a bug")


@tool(effect="read")
async def wait_long() -> str:
    """Wait."""
    await asyncio.sleep(30)
    return "waited"


trip = Agent(name="trip", instructions="Travel.", tools=[book_flight, charge, wait_long])
BOTH = [call("book_flight", seat="1A"), call("book_flight", seat="2B", meal="fish")]


async def cancelled_after_booking(run: Run) -> None:
    """Cancel a run that has booked, in its next turn."""
    async with asyncio.timeout(40):
        while not world or (await run.progress()).turn < 2:
            await asyncio.sleep(0.1)
    await run.cancel()


async def test_what_was_done_is_undone_in_reverse_when_a_later_step_fails(
    temporal: Client, cached: int
) -> None:
    model = ScriptedModel([*BOTH, call("charge", amount_usd=9)])
    async with on_stage(temporal, model, [trip], cached=cached) as stage:
        with pytest.raises(RunFailed, match="declined by a bug") as failed:
            await stage.run("trip")
        assert (await stage.activities()).count("cancel_flight") == 2
    assert world == [
        "booked 1A",
        "booked 2B",
        "cancelled 2B ticket-2B",
        "cancelled 1A ticket-1A",
    ]
    assert "book_flight (call 2.1): undone, book_flight (call 1.1): undone" in str(failed.value)
    assert failed.value.cause_type == "ToolFailed"


async def test_what_was_done_is_undone_when_the_run_is_cancelled(
    temporal: Client, cached: int
) -> None:
    model = ScriptedModel([BOTH[0], call("wait_long")])
    async with on_stage(temporal, model, [trip], cached=cached) as stage:
        run = await stage.start("trip")
        await cancelled_after_booking(run)
        result = await run.result()
    assert (result.status, result.stop_reason) == ("stopped", "cancelled")
    assert [(one.call_id, one.outcome) for one in result.compensations] == [("1.1", "undone")]
    assert world == ["booked 1A", "cancelled 1A ticket-1A"]


async def test_a_run_that_completes_undoes_nothing(temporal: Client) -> None:
    async with on_stage(temporal, ScriptedModel([*BOTH, answer("bon voyage")]), [trip]) as stage:
        run = await stage.start("trip")
        assert (await run.result()).compensations == []
    assert world == ["booked 1A", "booked 2B"]
    assert keys == [
        f"{run.id}/{run.first_execution_run_id}/{call_id}" for call_id in ("1.1", "2.1")
    ]


async def test_what_cannot_be_undone_is_put_to_a_person(
    temporal: Client, cached: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TOOL_ATTEMPTS, "idempotent", 2)  # the usual four take seven seconds
    broken.add("cancel_flight")
    model = ScriptedModel([BOTH[0], call("wait_long")])
    async with on_stage(temporal, model, [trip], cached=cached) as stage:
        run = await stage.start("trip")
        await cancelled_after_booking(run)
        request = await pending(run)
        assert request.request_id == "1.1.undo"
        assert "cancel_flight could not undo book_flight" in (request.question or "")
        assert "the airline is closed" in (request.question or "")
        await run.answer(request, "undone by hand", by="ann")
        (undone,) = (await run.result()).compensations
    assert undone.outcome == "undone_by_hand"
    assert "ann answered" in undone.detail


def slow_transfer(**options: Any) -> tuple[Agent, list[int]]:
    """Return an agent whose transfer takes too long the first time, and the attempts that were made."""
    attempts: list[int] = []

    @tool(effect="write", timeout=timedelta(seconds=1), **options)
    async def transfer(amount_usd: float) -> str:
        """Transfer money."""
        attempts.append(1)
        if len(attempts) == 1:
            await asyncio.sleep(20)
        return f"transferred {amount_usd}"

    return Agent(name="bank", instructions="Pay.", tools=[transfer]), attempts


@pytest.mark.parametrize(
    ("reply", "made", "result_text"),
    [
        ("it happened", 1, '"happened":true'),
        ("it did not happen", 2, "transferred 5.0"),
    ],
)
async def test_a_call_that_may_have_happened_is_put_to_a_person_and_not_repeated_blindly(
    temporal: Client, reply: str, made: int, result_text: str
) -> None:
    bank, attempts = slow_transfer(approval=Approval(audience="tellers"))
    model = ScriptedModel([call("transfer", amount_usd=5.0), answer("done")])
    async with on_stage(temporal, model, [bank]) as stage:
        run = await stage.start("bank")
        await run.approve(await pending(run), by="ann")
        async with asyncio.timeout(40):
            while not (await run.pending_requests()):
                await asyncio.sleep(0.1)
        request = await pending(run)
        assert (request.request_id, request.audience) == ("1.1.happened", "tellers")
        assert "did this call happen? transfer(amount_usd=5.0)" in (request.question or "")
        await run.answer(request, reply, by="bo")
        result = await run.result()
    assert (result.output, len(attempts)) == ("done", made)
    assert result_text in model.prompts[-1].messages[-1]["content"]


@pytest.mark.parametrize(("found", "made"), [("transferred 5.0", 1), (None, 2)])
async def test_a_call_that_may_have_happened_is_verified(
    temporal: Client, found: str | None, made: int
) -> None:
    amounts: list[float] = []

    @tool(effect="read")
    def find_transfer(amount_usd: float) -> str | None:
        """Find a transfer."""
        amounts.append(amount_usd)
        return found

    bank, attempts = slow_transfer(verify=find_transfer)
    model = ScriptedModel([call("transfer", amount_usd=5.0), answer("done")])
    async with on_stage(temporal, model, [bank]) as stage:
        result = await stage.run("bank")
    assert (result.output, len(attempts), amounts) == ("done", made, [5.0])
    assert "transferred 5.0" in model.prompts[-1].messages[-1]["content"]


async def test_a_question_that_nobody_answers_ends_the_run(skipping: Client) -> None:
    bank, attempts = slow_transfer()
    model = ScriptedModel([call("transfer", amount_usd=5.0)])
    async with on_stage(skipping, model, [bank], has_search_attributes=False) as stage:
        with pytest.raises(
            RunFailed, match="it is unknown whether it happened.*nobody of operators answered"
        ):
            await stage.run("bank")
    assert len(attempts) == 1


def test_a_partner_takes_what_the_call_has() -> None:
    @tool(effect="idempotent")
    def undo(order_id: str, reason: str) -> None:
        """Undo."""

    with pytest.raises(DefinitionError, match="undo needs 'reason', which is not an argument of"):

        @tool(effect="write", compensate=undo)
        def do(order_id: str) -> None:
            """Do."""

    with pytest.raises(DefinitionError, match="is not a tool"):

        @tool(effect="write", verify=len)  # type: ignore[arg-type]  # on purpose
        def other(order_id: str) -> None:
            """Do."""

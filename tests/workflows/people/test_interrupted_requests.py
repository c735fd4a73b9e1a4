"""Clocks of requests over what interrupts a run: its worker restarts, and it continues as new."""

import asyncio
from dataclasses import dataclass
from datetime import timedelta

import pytest
from temporalio import workflow
from temporalio.client import Client
from temporalio.service import RPCError

from outlast import Agent, Approval, Escalation, tool
from outlast.client.runs import Run
from outlast.errors import Unavailable
from outlast.testing import ScriptedModel, answer, call
from tests.conftest import skipping_server
from tests.long.test_request_sequences import jump
from tests.stage import Stage, on_stage, pending, staged_settings

DAY = timedelta(days=1).total_seconds()

pytestmark = pytest.mark.timeout(240)

paid: list[str] = []


@pytest.fixture(autouse=True)
def _nothing_paid() -> None:
    paid.clear()


@tool(effect="read")
def look_up(order_id: str) -> str:
    """Look an order up."""
    return f"order {order_id}"


def desk_with(clock: Approval) -> Agent:
    @tool(effect="irreversible", approval=clock)
    def refund(order_id: str) -> str:
        """Refund an order."""
        paid.append(order_id)
        return "refunded"

    return Agent(name="desk", instructions="Refund.", tools=[look_up, refund])


def model_that_refunds() -> ScriptedModel:
    return ScriptedModel(
        [call("look_up", order_id="42"), call("refund", order_id="42"), answer("done")]
    )


REQUEST = "2.1"


@dataclass(frozen=True)
class Case:
    """A clock, what happens before and after the interruption, and how it ends.

    A step is seconds that pass, or the name of a person who approves. `clock_says` are the moments that
    the run set timers for, in order.
    """

    clock: Approval
    before: tuple[float | str, ...]
    after: tuple[float | str, ...]
    outcome: str
    clock_says: tuple[str, ...]
    audience: str = "desk"
    approved_by: tuple[str, ...] = ()
    pays: bool = False


REMINDED, EXPIRES = "sends a reminder", "expires"
TO_LEADS, TO_CEO = "escalates to leads", "escalates to ceo"
TWICE = (Escalation(audience="leads", after_s=400), Escalation(audience="ceo", after_s=800))

CASES = {
    "reminded": Case(
        Approval(audience="desk", remind_s=400, expires_s=1_000),
        before=(500,),
        after=(),
        outcome="expired",
        clock_says=(REMINDED, REMINDED, EXPIRES),
    ),
    "escalated_twice_interrupted_before": Case(
        Approval(audience="desk", escalate=TWICE, expires_s=1_000),
        before=(200,),
        after=(),
        outcome="expired",
        clock_says=(TO_LEADS, TO_CEO, EXPIRES),
        audience="ceo",
    ),
    "escalated_twice_interrupted_between": Case(
        Approval(audience="desk", escalate=TWICE, expires_s=1_000),
        before=(600,),
        after=(300, "cy"),
        outcome="approved",
        clock_says=(TO_LEADS, TO_CEO, EXPIRES),
        audience="ceo",
        approved_by=("cy",),
        pays=True,
    ),
    "expired_denied": Case(
        Approval(audience="desk", expires_s=1_000, on_expiry="deny"),
        before=(500,),
        after=(),
        outcome="expired",
        clock_says=(EXPIRES,),
    ),
    "expired_approved": Case(
        Approval(audience="desk", expires_s=1_000, on_expiry="approve"),
        before=(500,),
        after=(),
        outcome="expired",
        clock_says=(EXPIRES,),
        pays=True,
    ),
    "quorum_reached": Case(
        Approval(audience="desk", quorum=2, expires_s=1_000),
        before=("ann", 500),
        after=("bo",),
        outcome="approved",
        clock_says=(EXPIRES,),
        approved_by=("ann", "bo"),
        pays=True,
    ),
    "quorum_not_reached": Case(
        Approval(audience="desk", quorum=2, expires_s=1_000),
        before=("ann", 500),
        after=(),
        outcome="expired",
        clock_says=(EXPIRES,),
        approved_by=("ann",),
    ),
    "thirty_days": Case(
        Approval(audience="desk", remind_s=14 * DAY, expires_s=31 * DAY),
        before=(15 * DAY,),
        after=(15 * DAY, "ann"),
        outcome="approved",
        clock_says=(REMINDED, REMINDED, EXPIRES),
        approved_by=("ann",),
        pays=True,
    ),
}


@pytest.fixture
def continues(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the server suggest, as the test server never does, to continue as new at each turn."""

    def suggested(info: workflow.Info) -> bool:
        return info.get_current_history_length() > LENGTH_BEFORE_THE_FIRST_TURN

    monkeypatch.setattr(workflow.Info, "is_continue_as_new_suggested", suggested)


TRIES = 3

LENGTH_BEFORE_THE_FIRST_TURN = 14
"""At most so many events come before the first model call, with the activities that open a run."""


async def take(client: Client, run: Run, steps: tuple[float | str, ...]) -> None:
    for step in steps:
        if isinstance(step, str):
            await run.approve(REQUEST, by=step)
        else:
            await jump(client, step)


async def moments_of(stage: Stage, run: Run) -> tuple[str, ...]:
    """Return what the timers of a chain of runs were for."""
    summaries = [
        event.user_metadata.summary.data.decode().strip('"')
        for history in await stage.chain(run)
        for event in history.events
        if event.HasField("timer_started_event_attributes")
        and b": refund(order_id=" in event.user_metadata.summary.data
    ]
    return tuple(summary.rpartition(")? ")[2] for summary in summaries)


async def played(case: Case, *, runs: int) -> None:
    """Play a case; again on another test server if one hangs, as it may while a run continues as new."""
    for attempt in range(1, 1 + TRIES):
        paid.clear()
        try:
            async with skipping_server() as client:
                await played_once(client, case, runs=runs)
        except (RPCError, Unavailable, TimeoutError):
            if attempt == TRIES:
                raise
        else:
            return


async def played_once(client: Client, case: Case, *, runs: int) -> None:
    """Play a case whose worker restarts in the middle, on a chain of so many runs."""
    # Uncached: the test server would ask the worker that is gone, which had the run in memory.
    own, model, agent = staged_settings(cached=0), model_that_refunds(), desk_with(case.clock)
    async with on_stage(client, model, [agent], settings=own, has_search_attributes=False) as stage:
        run = await stage.start("desk")
        opened = await pending(run)
        await take(client, run, case.before)
    async with on_stage(client, model, [agent], settings=own, has_search_attributes=False):
        again = await pending(run)
        await take(client, run, case.after)
        result = await run.result()
    await stage.replay()
    assert (again.request_id, again.opened_at) == (opened.request_id, opened.opened_at)
    (settled,) = result.decisions
    assert (settled.outcome, settled.audience) == (case.outcome, case.audience)
    assert tuple(settled.approved_by) == case.approved_by
    assert paid == ["42"] * case.pays
    assert await moments_of(stage, run) == case.clock_says
    assert len(await stage.chain(run)) >= runs
    if settled.outcome == "expired":
        assert settled.at == opened.opened_at + timedelta(seconds=case.clock.expires_s)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
async def test_a_clock_goes_on_over_a_restart(case: Case) -> None:
    await played(case, runs=1)


@pytest.mark.usefixtures("continues")
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
async def test_a_clock_goes_on_where_the_run_is_to_continue_as_new(case: Case) -> None:
    await played(case, runs=3)


@pytest.mark.usefixtures("continues")
async def test_a_decision_in_the_instant_of_the_expiry_stands_though_the_run_continues_as_new(
    temporal: Client,
) -> None:
    own, model = staged_settings(cached=1000), model_that_refunds()
    desk = desk_with(Approval(audience="desk", expires_s=1))
    async with on_stage(temporal, model, [desk], settings=own) as stage:
        run = await stage.start("desk")
        await pending(run)
    await asyncio.sleep(1.1)
    handle = temporal.get_workflow_handle(run.id)
    await handle.signal("decide", {"request_id": REQUEST, "decision": "approve", "by": "ann"})
    async with on_stage(temporal, model, [desk], settings=own):
        (settled,) = (await run.result()).decisions
    await stage.replay()
    assert (settled.outcome, settled.by, paid) == ("approved", "ann", ["42"])
    assert len(await stage.chain(run)) == 3

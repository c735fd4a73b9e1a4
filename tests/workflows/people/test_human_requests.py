"""Human requests as they run: edited, voted on, answered, reminded of, escalated, expired."""

import asyncio
from datetime import timedelta
from typing import Any, Literal

import pytest
from pydantic import BaseModel
from temporalio.client import Client

from outlast import Agent, Approval, BadRequest, Escalation, arguments, ask_human, tool
from outlast.testing import ScriptedModel, answer, call, calls
from tests.stage import on_stage, pending

paid: list[tuple[str, float]] = []


@pytest.fixture(autouse=True)
def _nothing_paid() -> None:
    paid.clear()


def desk_with(approval: Approval) -> Agent:
    @tool(effect="irreversible", approval=approval)
    def refund(order_id: str, amount_usd: float) -> str:
        """Refund an order."""
        paid.append((order_id, amount_usd))
        return f"refunded {amount_usd}"

    return Agent(name="desk", instructions="Refund.", tools=[refund])


def model_that_refunds(amount_usd: float = 80) -> ScriptedModel:
    return ScriptedModel(
        [call("refund", order_id="42", amount_usd=amount_usd), answer("done")], repeat_last=True
    )


def read_by(model: ScriptedModel) -> str:
    """Return what the model was last shown."""
    return model.prompts[-1].messages[-1]["content"]


LEADS = Approval(audience="leads", expires_s=3600)


async def test_an_edited_call_is_made_with_the_arguments_of_the_person(
    temporal: Client, cached: int
) -> None:
    model = model_that_refunds()
    async with on_stage(temporal, model, [desk_with(LEADS)], cached=cached) as stage:
        run = await stage.start("desk")
        request = await pending(run)
        with pytest.raises(BadRequest, match=r"arguments: amount_usd: 'much' is not of type"):
            await run.edit(request, {"order_id": "42", "amount_usd": "much"}, by="ann")
        with pytest.raises(BadRequest, match="'order_id' is a required property"):
            await run.edit(request, {"amount_usd": 5}, by="ann")
        assert (await pending(run)).arguments["amount_usd"] == 80, "nothing was recorded"
        await run.edit(request, {"order_id": "42", "amount_usd": 50.0}, by="ann", comment="half")
        result = await run.result()
        entries = [entry async for entry in run.stream()]
    assert paid == [("42", 50.0)]
    assert '"arguments_edited_to":{"order_id":"42","amount_usd":50.0}' in read_by(model)
    (settled,) = result.decisions
    assert (settled.outcome, settled.by, settled.edited_by) == ("approved", "ann", "ann")
    assert settled.at is not None
    assert [entry.decided for entry in entries if entry.role == "tool"] == [
        "approved by ann, edited by ann: half"
    ]


async def test_a_decision_about_other_arguments_than_are_asked_about_is_refused(
    temporal: Client,
) -> None:
    async with on_stage(temporal, model_that_refunds(), [desk_with(LEADS)]) as stage:
        run = await stage.start("desk")
        seen = await pending(run)
        stale = seen.model_copy(update={"arguments_hash": "0" * 16})
        with pytest.raises(BadRequest, match="have changed"):
            await run.approve(stale, by="ann")
        await run.approve(seen, by="ann")
        await run.result()
    assert len(paid) == 1


async def test_two_people_have_to_approve_and_an_edit_voids_what_was_approved(
    temporal: Client, cached: int
) -> None:
    both = Approval(audience="leads", quorum=2)
    async with on_stage(temporal, model_that_refunds(), [desk_with(both)], cached=cached) as stage:
        run = await stage.start("desk")
        request = await pending(run)
        with pytest.raises(BadRequest, match="needs 2 people to approve; give your name"):
            await run.approve(request)
        assert await run.approve(request, by="ann") == "counted for 1.1; 1 more to approve"
        with pytest.raises(BadRequest, match="has approved '1.1' already; 1 more to approve"):
            await run.approve(request, by=" Ann")
        await run.edit(request, {"order_id": "42", "amount_usd": 9}, by="bo")
        edited = await pending(run)
        assert (edited.approved_by, edited.edited_by) == (["bo"], "bo")
        with pytest.raises(BadRequest, match="have changed"):
            await run.approve(request, by="ann")
        assert await run.approve(edited, by="ann") == "approved 1.1"
        (settled,) = (await run.result()).decisions
    assert settled.approved_by == ["bo", "ann"]
    assert paid == [("42", 9)]


async def test_one_denial_denies_whatever_the_quorum(temporal: Client) -> None:
    both = Approval(audience="leads", quorum=2)
    model = model_that_refunds()
    async with on_stage(temporal, model, [desk_with(both)]) as stage:
        run = await stage.start("desk")
        request = await pending(run)
        await run.approve(request, by="ann")
        await run.deny(request, by="bo", comment="a fraud")
        await run.result()
    assert paid == []
    assert "denied by bo: a fraud" in read_by(model)


async def test_a_call_that_the_condition_does_not_hold_for_needs_nobody(temporal: Client) -> None:
    large = Approval(audience="leads", when=arguments.amount_usd > 50)
    async with on_stage(temporal, model_that_refunds(50), [desk_with(large)]) as stage:
        assert (await stage.run("desk")).decisions == []
    async with on_stage(temporal, model_that_refunds(51), [desk_with(large)]) as stage:
        run = await stage.start("desk")
        await run.approve(await pending(run), by="ann")
        await run.result()
    assert [amount for _, amount in paid] == [50, 51]


class Choice(BaseModel):
    colour: Literal["red", "blue"]


async def test_a_question_is_answered_with_its_type(temporal: Client, cached: int) -> None:
    asks = ask_human(Choice, audience="designers")
    painter = Agent(name="painter", instructions="Paint.", tools=[asks])
    model = ScriptedModel([call("ask_human", question="Which?"), answer("painted")])
    async with on_stage(temporal, model, [painter], cached=cached) as stage:
        run = await stage.start("painter")
        request = await pending(run)
        assert (request.kind, request.question, request.audience) == (
            "question",
            "Which?",
            "designers",
        )
        with pytest.raises(BadRequest, match=r"answer: colour: 'green' is not one of"):
            await run.answer(request, {"colour": "green"}, by="cy")
        with pytest.raises(BadRequest, match="is a question: 'answer' it, or 'deny'"):
            await run.approve(request, by="cy")
        await run.answer(request, {"colour": "blue"}, by="cy")
        (settled,) = (await run.result()).decisions
        assert await stage.activities() == ["generate", "generate"]
    assert '{"answer":{"colour":"blue"}}' in read_by(model)
    assert (settled.outcome, settled.by) == ("answered", "cy")


async def test_questions_may_wait_side_by_side_while_the_rest_goes_on(temporal: Client) -> None:
    asks = ask_human()
    both = calls(call("ask_human", question="a?"), call("ask_human", question="b?"))
    agent = Agent(name="asker", instructions="Ask.", tools=[asks])
    model = ScriptedModel([both, answer("ok")])
    async with on_stage(temporal, model, [agent]) as stage:
        run = await stage.start("asker")
        while len(await _requests(run)) < 2:
            await asyncio.sleep(0.05)
        await run.answer("1.2", "second")
        await run.answer("1.1", "first")
        await run.result()
    assert read_by(model).index("first") < read_by(model).index("second")


async def _requests(run: Any) -> list[Any]:
    try:
        return list(await run.pending_requests())
    except Exception:  # noqa: BLE001 the run has not begun
        return []


CLOCK = Approval(
    audience="agents",
    remind_s=3_000,
    escalate=(
        Escalation(audience="leads", after_s=4_000),
        Escalation(audience="ceo", after_s=8_000),
    ),
    expires_s=10_000,
)


async def test_a_request_is_reminded_of_escalates_and_expires(
    skipping: Client, cached: int
) -> None:
    model = model_that_refunds()
    async with on_stage(
        skipping, model, [desk_with(CLOCK)], cached=cached, has_search_attributes=False
    ) as stage:
        result = await stage.run("desk")
        timers = await stage.timers()
    assert timers == [
        "agents: refund(order_id=42, amount_usd=80)? sends a reminder",
        "agents: refund(order_id=42, amount_usd=80)? escalates to leads",
        "leads: refund(order_id=42, amount_usd=80)? sends a reminder",
        "leads: refund(order_id=42, amount_usd=80)? escalates to ceo",
        "ceo: refund(order_id=42, amount_usd=80)? sends a reminder",
        "ceo: refund(order_id=42, amount_usd=80)? expires",
        "request 1.1 has expired",
    ]
    (settled,) = result.decisions
    assert (settled.outcome, settled.audience) == ("expired", "ceo")
    assert paid == []
    assert "nobody of ceo answered within 10000 s" in read_by(model)


async def test_an_expired_request_may_be_approved_by_its_policy(skipping: Client) -> None:
    lenient = Approval(audience="leads", expires_s=60, on_expiry="approve")
    async with on_stage(
        skipping, model_that_refunds(), [desk_with(lenient)], has_search_attributes=False
    ) as stage:
        (settled,) = (await stage.run("desk")).decisions
    assert settled.outcome == "expired"
    assert len(paid) == 1


async def test_a_denial_that_stops_the_run_undoes_its_effects(
    temporal: Client, cached: int
) -> None:
    undone: list[str] = []

    @tool(effect="idempotent")
    def release(room: str) -> None:
        """Release a room."""
        undone.append(room)

    @tool(effect="write", compensate=release)
    def reserve(room: str) -> str:
        """Reserve a room."""
        return room

    strict = Approval(audience="leads", on_denial="stop")
    (refund,) = desk_with(strict).tools
    desk = Agent(name="desk", instructions="Refund.", tools=[refund, reserve])
    model = ScriptedModel(
        [
            calls(
                call("refund", order_id="42", amount_usd=80),
                call("refund", order_id="43", amount_usd=80),
                call("reserve", room="blue"),
            )
        ]
    )
    async with on_stage(temporal, model, [desk], cached=cached) as stage:
        run = await stage.start("desk")
        await run.deny(await pending(run), by="ann", comment="a fraud")
        result = await run.result()
    assert (result.status, result.stop_reason) == ("stopped", "denied")
    assert [(one.outcome, one.by) for one in result.decisions] == [("denied", "ann")]
    assert [(one.tool, one.outcome) for one in result.compensations] == [("reserve", "undone")]
    assert (paid, undone) == ([], ["blue"])


async def test_an_expiry_that_denies_can_stop_the_run(skipping: Client) -> None:
    strict = Approval(audience="leads", expires_s=60, on_denial="stop")
    async with on_stage(
        skipping, model_that_refunds(), [desk_with(strict)], has_search_attributes=False
    ) as stage:
        result = await stage.run("desk")
    assert (result.stop_reason, result.decisions[0].outcome) == ("denied", "expired")
    assert paid == []


async def test_a_quorum_that_is_not_reached_says_how_far_it_came(skipping: Client) -> None:
    both = Approval(audience="leads", quorum=2, expires_s=60)
    model = model_that_refunds()
    async with on_stage(skipping, model, [desk_with(both)], has_search_attributes=False) as stage:
        run = await stage.start("desk")
        await run.approve(await pending(run), by="ann")
        (settled,) = (await run.result()).decisions
    assert settled.approved_by == ["ann"]
    assert "1 of 2 people of leads approved within 60 s" in read_by(model)
    assert paid == []


async def test_a_request_waits_for_30_days(skipping: Client) -> None:
    patient = Approval(audience="leads", expires_s=timedelta(days=31).total_seconds())
    async with on_stage(
        skipping, model_that_refunds(), [desk_with(patient)], has_search_attributes=False
    ) as stage:
        run = await stage.start("desk")
        request = await pending(run)
        env_sleep = request.expires_at - request.opened_at
        assert env_sleep > timedelta(days=30)
        await run.approve(request, by="ann")
        assert (await run.result()).output == "done"


async def test_a_question_that_nobody_answers_is_told_to_the_model(skipping: Client) -> None:
    asks = ask_human(expires=timedelta(minutes=1))
    agent = Agent(name="asker", instructions="Ask.", tools=[asks])
    model = ScriptedModel([call("ask_human", question="a?"), answer("ok")])
    async with on_stage(skipping, model, [agent], has_search_attributes=False) as stage:
        await stage.run("asker")
    assert '"unanswered":"nobody of operators answered in time"' in read_by(model)


async def test_what_waits_for_a_team_is_found_by_its_name(temporal: Client) -> None:
    quick = Approval(
        audience="first", escalate=(Escalation(audience="second", after_s=1),), expires_s=60
    )
    async with on_stage(temporal, model_that_refunds(), [desk_with(quick)]) as stage:
        run = await stage.start("desk")
        await pending(run)
        for audience in ("first", "second"):
            query = f"AgentAudience = '{audience}' AND WorkflowId = '{run.id}'"
            async with asyncio.timeout(40):
                while not [one async for one in stage.client.temporal.list_workflows(query)]:
                    await asyncio.sleep(0.1)
        await run.deny("1.1")
        await run.result()

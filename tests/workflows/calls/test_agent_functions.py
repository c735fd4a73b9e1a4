"""Functions of an agent: instructions that depend on the request, checks of answers, and `Retry`."""

import asyncio
import time
from typing import Annotated, Any

import pytest
from outlast_activities import instructions as instructions_module
from outlast_activities import output_check
from pydantic import AfterValidator, BaseModel
from temporalio.client import Client

from outlast import (
    Agent,
    AgentRequest,
    BadRequest,
    DefinitionError,
    Retry,
    RunFailed,
    ToolError,
    tool,
)
from outlast.testing import ScriptedModel, answer, call, calls
from tests.stage import on_stage


class Refund(BaseModel):
    """What the desk answers."""

    amount_usd: float


def desk_of(instructions: Any = "Pay.", **options: Any) -> Agent[Any, Refund]:
    return Agent(name="desk", instructions=instructions, output=Refund, **options)


GOOD: Any = {"amount_usd": 5}
BAD: Any = {"amount_usd": 500}


def for_tenant(request: AgentRequest) -> str:
    """Pay what the tenant allows."""
    return f"You work for {request.tenant}. Asked: {request.input}."


async def for_tenant_later(request: AgentRequest) -> str:
    await asyncio.sleep(0)
    return for_tenant(request)


@pytest.mark.parametrize("function", [for_tenant, for_tenant_later])
async def test_instructions_are_written_once_from_the_request(
    temporal: Client, cached: int, function: Any
) -> None:
    model = ScriptedModel([answer({"amount_usd": 1})])
    async with on_stage(temporal, model, [desk_of(function)], cached=cached) as stage:
        run = await stage.start("desk", "money back", tenant="acme")
        result = await run.result()
        assert result.output == {"amount_usd": 1}
        assert await stage.activities(run) == ["resolve_agent", "generate"]
        (history,) = await stage.chain(run)
        resolve = history.events[4].activity_task_scheduled_event_attributes
        assert "money back" not in str(resolve.input)  # the run does not record its input twice
    assert "You work for acme. Asked: money back." in str(model.prompts[0])


def _fails(request: AgentRequest) -> str:
    raise KeyError("plan")


def _exits(request: AgentRequest) -> str:
    raise SystemExit(2)


def _rejects(request: AgentRequest) -> str:
    raise BadRequest(f"input: {request.input!r} is not an order id")


def _slow(request: AgentRequest) -> str:
    time.sleep(1.5)
    return "late"


@pytest.mark.parametrize(
    ("function", "cause", "reason"),
    [
        (_fails, "AgentFailed", "the instructions of agent 'desk' failed: KeyError: 'plan'"),
        (_exits, "AgentFailed", "the instructions of agent 'desk' failed: SystemExit: 2"),
        (_rejects, "BadRequest", "input: 'go' is not an order id"),
        (_slow, "AgentFailed", "the instructions of agent 'desk' took longer than 0.1 s"),
        (lambda request: "", "AgentFailed", "the instructions of agent 'desk' are empty"),
        (lambda request: None, "AgentFailed", "of agent 'desk' are NoneType, not text"),
        (lambda request: "x" * 200_001, "AgentFailed", "have more than 200,000 characters"),
    ],
)
async def test_instructions_that_cannot_be_written_end_the_run_by_name(
    skips: Client, function: Any, cause: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if function is _slow:
        monkeypatch.setattr(instructions_module, "INSTRUCTIONS_S", 0.1)
    agent = desk_of(function)
    async with on_stage(skips, ScriptedModel([]), [agent], has_search_attributes=False) as stage:
        with pytest.raises(RunFailed) as caught:
            await stage.run("desk")
    assert caught.value.cause_type == cause
    assert reason in str(caught.value)


async def test_a_called_agent_reads_its_own_request(temporal: Client) -> None:
    boss = Agent(name="boss", instructions="Lead.", tools=[desk_of(for_tenant)])
    model = ScriptedModel([call("desk", input="pay 5"), answer(GOOD), answer("done")])
    async with on_stage(temporal, model, [boss]) as stage:
        await stage.run("boss", tenant="acme")
    assert boss.tool_specs[0].description == "Pay what the tenant allows."
    assert "You work for acme. Asked: pay 5." in str(model.prompts[1])


@pytest.mark.parametrize("instructions", ["", "  ", 3, None, "x" * 200_001])
def test_instructions_that_are_neither_text_nor_a_function_are_rejected(instructions: Any) -> None:
    with pytest.raises(DefinitionError, match="agent 'desk': its instructions"):
        desk_of(instructions)


async def test_a_check_rejects_an_answer_and_the_model_answers_again(
    temporal: Client, cached: int
) -> None:
    agent = desk_of()
    seen: list[Refund] = []

    @agent.check
    def is_a_refund(refund: Refund) -> None:
        seen.append(refund)

    @agent.check
    async def is_small(refund: Refund) -> None:
        if refund.amount_usd > 100:
            raise Retry(f"{refund.amount_usd} is more than 100")

    model = ScriptedModel([answer(BAD), answer(GOOD)])
    async with on_stage(temporal, model, [agent], cached=cached) as stage:
        result = await stage.client.run(agent, "go", task_queue=stage.task_queue)
    assert result.output == Refund(amount_usd=5)
    assert seen == [Refund(amount_usd=500), Refund(amount_usd=5)]
    assert "Your answer is not valid: 500.0 is more than 100. Answer again." in str(
        model.prompts[1]
    )


async def test_a_check_runs_after_the_validators_of_the_type(temporal: Client) -> None:
    def _even(number: int) -> int:
        if number % 2:
            raise ValueError("odd")
        return number

    agent = Agent(name="even", instructions="x", output=Annotated[int, AfterValidator(_even)])
    seen: list[int] = []
    agent.check(seen.append)
    async with on_stage(temporal, ScriptedModel([answer(3), answer(4)]), [agent]) as stage:
        assert (await stage.run("even")).output == 4
    assert seen == [4]


async def _always(refund: Refund) -> None:
    raise Retry("too much")


def _broken(refund: Refund) -> None:
    raise KeyError("order")


def _says_no(refund: Refund) -> Any:
    return False


def _says_much(refund: Refund) -> Any:
    nested: Any = []
    for _ in range(5_000):
        nested = [nested]
    return nested


def _sleeps(refund: Refund) -> None:
    time.sleep(1)


def _sleeps_again(refund: Refund) -> None:
    time.sleep(1)


@pytest.mark.parametrize(
    ("check", "cause", "reason"),
    [
        (_always, "AnswerRejected", "3 answers were rejected; the last one by the check '_always'"),
        (_broken, "AgentFailed", "the check '_broken' of agent 'desk' failed: KeyError: 'order'"),
        (_says_no, "AgentFailed", "the check '_says_no' of agent 'desk' returned False; return"),
        (
            _says_much,
            "AgentFailed",
            "agent 'desk' returned a value of the type list; return nothing",
        ),
        (_sleeps, "AgentFailed", "the check '_sleeps' of agent 'desk' took longer than 0.1 s"),
    ],
)
async def test_a_check_that_never_accepts_or_is_broken_ends_the_run_by_name(
    skips: Client, check: Any, cause: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if check is _sleeps:
        monkeypatch.setattr(output_check, "CHECK_S", 0.1)
    agent = desk_of()
    agent.check(check)
    model = ScriptedModel([answer(BAD)], repeat_last=True)
    async with on_stage(skips, model, [agent], has_search_attributes=False) as stage:
        with pytest.raises(RunFailed) as caught:
            await stage.run("desk")
    assert caught.value.cause_type == cause
    assert reason in str(caught.value)
    assert len(model.prompts) == (3 if check is _always else 1)


async def test_checks_that_take_too_long_together_end_the_run_by_name(
    skips: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output_check, "ALL_CHECKS_S", 1.5)
    agent = desk_of()
    for check in (_sleeps, _sleeps_again):
        agent.check(check)
    model = ScriptedModel([answer(BAD)])
    async with on_stage(skips, model, [agent], has_search_attributes=False) as stage:
        with pytest.raises(
            RunFailed, match="'_sleeps_again' .* had not ended after the 1.5 s that"
        ):
            await stage.run("desk")


def test_a_check_that_is_not_a_function_is_rejected() -> None:
    with pytest.raises(DefinitionError, match="agent 'desk': the check 3 is not a function"):
        desk_of().check(3)  # type: ignore[call-overload]


class Wrong(Retry):
    """A subclass of a user."""


@tool(effect="write")
def pay(amount_usd: int) -> str:
    """Pay."""
    if amount_usd > 100:
        raise Wrong(f"{amount_usd} is more than 100")
    return "paid"


@tool(effect="read")
async def look(place: str) -> str:
    """Look."""
    if place == "nowhere":
        raise ExceptionGroup("two", [Retry("no such place"), Retry("look elsewhere")])
    if place == "closed":
        raise ToolError("closed")
    return place


PAYER = Agent(name="payer", instructions="x", tools=[pay, look])


async def test_a_tool_asks_the_model_to_try_again(temporal: Client, cached: int) -> None:
    steps = [
        *(call("pay", amount_usd=500), call("look", place="nowhere"), call("pay", amount_usd=500)),
        *(call("pay", amount_usd=5), call("pay", amount_usd=500), answer("done")),
    ]
    async with on_stage(temporal, ScriptedModel(steps), [PAYER], cached=cached) as stage:
        run = await stage.start("payer")
        assert (await run.result()).output == "done"
        results = [entry.content for entry in await run.transcript() if entry.role == "tool"]
    rejected = '{"retry":"500 is more than 100"}'
    assert results == [
        *(rejected, '{"retry":"no such place; look elsewhere"}', rejected),
        *('"paid"', rejected),
    ]


async def test_a_tool_that_rejects_every_call_ends_the_run(temporal: Client, cached: int) -> None:
    """Several calls of one turn count once: the model had only one chance to correct them."""
    wrong = call("pay", amount_usd=500)
    steps = [calls(wrong, wrong, wrong), call("look", place="closed"), wrong, calls(wrong, wrong)]
    async with on_stage(temporal, ScriptedModel(steps), [PAYER], cached=cached) as stage:
        with pytest.raises(RunFailed) as caught:
            await stage.run("payer")
    assert str(caught.value) == (
        "pay (call 4.1): it rejected the calls of 3 turns in a row: 500 is more than 100"
    )

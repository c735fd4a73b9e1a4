"""Handoffs: another agent goes on in the same run, also after a continue-as-new."""

from typing import Any

import pytest
from temporalio.client import Client

from outlast import Agent, BadRequest, DefinitionError, Leg, RunFailed, handoff, tool
from outlast.model_server import Prompt
from outlast.testing import ScriptedModel, answer, call, calls
from tests.stage import on_stage, staged_settings


@tool(effect="read")
def look_up_bill(number: int) -> str:
    """Look up a bill."""
    return f"bill {number}: 5 USD"


billing = Agent("billing", "I am billing.", [look_up_bill, handoff("triage")])
triage = Agent("triage", "I am triage.", [handoff(billing)])
TO_BILLING = call("handoff_billing", reason="it is about money")
TO_TRIAGE = call("handoff_triage", reason="it is not about money")


def names(model: ScriptedModel) -> list[str]:
    """Return the agents that a model has spoken for, in their order."""
    return [
        str(prompt.messages[0]["content"]).removeprefix("I am ").partition(".")[0]
        for prompt in model.prompts
    ]


async def test_another_agent_goes_on_with_the_transcript(temporal: Client) -> None:
    model = ScriptedModel([TO_BILLING, call("look_up_bill", number=7), answer("5 USD")])
    async with on_stage(temporal, model, [triage]) as stage:
        run = await stage.start("triage", "How much is bill 7?")
        result = await run.result()
        assert (await run.progress()).agent == "billing"
        (history,) = await stage.chain(run)
        described = await temporal.get_workflow_handle(run.id).describe()
    assert result.output == "5 USD"
    assert result.handoffs == ["billing"]
    assert (result.turns, result.tool_calls) == (3, 2)
    assert names(model) == ["triage", "billing", "billing"]
    last = str([message["content"] for message in model.prompts[-1].messages])
    assert "How much is bill 7?" in last
    assert "bill 7: 5 USD" in last
    assert [each.name for each in model.prompts[-1].tools] == ["look_up_bill", "handoff_triage"]
    assert described.search_attributes["AgentName"] == ["billing"]
    assert not any(
        event.HasField("start_child_workflow_execution_initiated_event_attributes")
        for event in history.events
    )


async def test_the_model_of_the_other_agent_serves_its_turns(temporal: Client) -> None:
    seen: list[str | None] = []

    def noted(prompt: Prompt) -> Any:
        seen.append(prompt.model)
        return TO_BILLING if len(seen) == 1 else answer("done")

    large = Agent("billing", "I am billing.", model="large")
    small = Agent("triage", "I am triage.", [handoff(large)], model="small")
    async with on_stage(temporal, ScriptedModel([noted, noted]), [small]) as stage:
        await stage.run("triage")
    assert seen == ["small", "large"]


async def test_handoffs_between_two_agents_end(temporal: Client) -> None:
    """After ten handoffs, a model reads an error, and its run goes on."""
    ping_pong = [TO_BILLING, TO_TRIAGE] * 5
    model = ScriptedModel([*ping_pong, TO_BILLING, answer("enough")])
    async with on_stage(temporal, model, [triage]) as stage:
        result = await stage.run("triage")
    assert result.handoffs == ["billing", "triage"] * 5
    assert names(model)[-2:] == ["triage", "triage"]
    assert "a run may have 10 handoffs" in str(model.prompts[-1].messages[-1]["content"])


async def test_one_agent_takes_over_of_two_that_a_decision_calls(temporal: Client) -> None:
    other = Agent("sales", "I am sales.")
    lead = Agent("triage", "I am triage.", [handoff(billing), handoff(other)])
    both = calls(call("handoff_sales", reason="x"), TO_BILLING)
    model = ScriptedModel([both, answer("done")])
    async with on_stage(temporal, model, [lead]) as stage:
        assert (await stage.run("triage")).handoffs == ["sales"]
    assert names(model) == ["triage", "sales"]
    assert "sales takes over; one agent can" in str(model.prompts[-1].messages)


async def test_the_agent_that_took_over_goes_on_after_a_continue_as_new(impatient: Client) -> None:
    looks: list[Any] = [call("look_up_bill", number=number) for number in range(12)]
    model = ScriptedModel([TO_BILLING, *looks, TO_TRIAGE, answer("done")])
    settings = staged_settings(cached=1000, generate=[Leg(task_queue="generate-{own}")])
    async with on_stage(
        impatient, model, [triage], settings=settings, has_search_attributes=False
    ) as stage:
        run = await stage.start("triage")
        result = await run.result()
        assert len(await stage.chain(run)) > 1
    assert result.handoffs == ["billing", "triage"]
    assert names(model) == ["triage", *["billing"] * 13, "triage"]


async def test_agents_that_cannot_take_over_are_rejected_before_the_first_turn(
    temporal: Client,
) -> None:
    number = Agent("number", "I am number.", output=int)
    named = Agent("named", "x", [handoff("number")])
    unknown = Agent("unknown", "x", [handoff("numbr")])
    long_winded = Agent("long", "x" * 199_000)
    chain = [Agent(f"a{n}", "y" * 199_000, [handoff(long_winded)]) for n in range(2)]
    large = Agent("large", "x", [handoff(agent) for agent in chain])
    agents = [number, named, unknown, large]
    async with on_stage(temporal, ScriptedModel([]), agents) as stage:
        for agent, reason in (
            (
                "named",
                "agent 'named': agent 'number' can take over its run, but has another output",
            ),
            ("unknown", "agent: 'numbr' is not registered with this worker; did you mean 'number'"),
            ("large", "at most 500,000 are allowed: shorten their instructions"),
        ):
            with pytest.raises(RunFailed) as caught:
                await stage.run(agent)
            assert caught.value.cause_type == BadRequest.__name__
            assert reason in str(caught.value)


def test_a_wrong_handoff_is_rejected_when_it_is_defined() -> None:
    for define, reason in (
        (lambda: Agent("a", "x", [handoff("a")]), "'handoff_a' hands over to the agent itself"),
        (lambda: Agent("a", "x", [handoff(billing)], output=int), "has another output type"),
        (lambda: handoff(3), "handoff: 3 is not an Agent"),  # type: ignore[arg-type]
        (lambda: handoff("no name"), "a name is a letter"),
    ):
        with pytest.raises(DefinitionError, match=reason):
            define()

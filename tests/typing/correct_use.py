# pyright: strict
"""A user's module, as `mypy --strict` and `pyright --strict` read it: no errors, and the types of outputs.

`make check` checks it. It never runs.
"""

from datetime import timedelta
from typing import Any, Literal, assert_type

from pydantic import BaseModel, JsonValue
from temporalio import workflow

from outlast import (
    Agent,
    AgentResult,
    Approval,
    Client,
    Escalation,
    Limits,
    Run,
    ToolContext,
    handoff,
    hedge,
    map_over,
    quorum,
    race,
    run_agent,
    tool,
)
from outlast.testing import ScriptedModel, answer
from outlast.testing import call as call_tool


class Refund(BaseModel):
    """The desk pays."""

    amount_usd: float


class Rejection(BaseModel):
    """The desk does not pay."""

    reason: str


@tool(effect="read")
def order_status(order_id: str) -> str:
    """Look an order up."""
    return order_id


@tool(effect="write")
async def pay(context: ToolContext, order_id: str, amount_usd: float) -> str:
    """Pay."""
    assert_type(context.deps, None)
    context.save_checkpoint({"order": order_id})
    return context.idempotency_key


text_agent = Agent("text-agent", "Answer.")
desk = Agent(
    name="desk",
    instructions="Decide.",
    tools=[order_status, pay, text_agent],
    output=Refund | Rejection,
    limits=Limits(max_turns=5),
)
listing = Agent(name="listing", instructions="List.", output=list[Refund])
choice = Agent(name="choice", instructions="Choose.", output=Literal["yes", "no"])
lead = Agent(
    name="lead",
    instructions="Lead.",
    tools=[
        race(text_agent, text_agent),
        quorum(choice, choice, choice, votes=2),
        hedge(listing, listing, delay=timedelta(seconds=5)),
        map_over(desk, concurrency=4),
        handoff(text_agent),
    ],
)
schema = Agent(name="schema", instructions="Answer.", output={"type": "object"})

assert_type(text_agent, Agent[None, str])
assert_type(listing, Agent[None, list[Refund]])
assert_type(choice, Agent[None, Literal["yes", "no"]])
assert_type(schema, Agent[Any, JsonValue])


async def call(client: Client) -> None:
    """Run agents, by definition and by name."""
    result = await client.run(desk, "My lamp is broken.")
    assert_type(result, AgentResult[Refund | Rejection])
    assert_type(result.output, Refund | Rejection)
    if isinstance(result.output, Refund):
        assert_type(result.output.amount_usd, float)
    assert_type((await client.run(text_agent, "go")).output, str)
    assert_type((await client.run(schema, "go")).output, JsonValue)
    assert_type((await client.run("desk", "go")).output, JsonValue)
    run = await client.start(desk, "go", limits=Limits(max_turns=2))
    assert_type(run, Run[Refund | Rejection])
    assert_type((await run.result()).output, Refund | Rejection)
    assert_type(client.get("desk-1", listing), Run[list[Refund]])
    assert_type(client.get("desk-1"), Run[JsonValue])
    assert_type(await client.chat("chat-1", "go", agent=listing), list[Refund])
    assert_type(await pay(ToolContext(call_id="1.1"), "A-1", 3.5), str)
    assert_type(order_status("A-1"), str)
    await json_of_the_caller(client, run, ["A-1"], {"A-1": 2})


APPROVAL = Approval(audience="leads", escalate=[Escalation(audience="finance", after_s=60)])


async def json_of_the_caller(
    client: Client, run: Run[Any], orders: list[str], sizes: dict[str, int]
) -> None:
    """Pass lists and dicts of narrow types as JSON."""
    await client.start("desk", orders, limits=Limits(max_cost_usd=0.5))
    await client.start("desk", {"orders": orders, "sizes": [sizes], "numbers": [1, 2]})
    await run.edit("2.1", sizes)
    await run.answer("2.1", orders)
    ScriptedModel([call_tool("look", orders=orders), answer({"sizes": sizes})])


@workflow.defn
class Order:
    """A workflow of a user."""

    @workflow.run
    async def run(self, order_id: str) -> float:
        """Run an agent as a child."""
        result = await run_agent(desk, {"orders": order_id.split()})
        assert_type(result.output, Refund | Rejection)
        assert_type((await run_agent("desk", order_id)).output, JsonValue)
        return result.output.amount_usd if isinstance(result.output, Refund) else 0.0

# pyright: strict, reportUnnecessaryTypeIgnoreComment=true
"""Mistakes in a user's module that `mypy --strict` and `pyright --strict` find.

Each `type: ignore` marks a mistake. Both checkers report one that is not needed, so `make check` fails if a
mistake is no longer found. The module never runs.
"""

from pydantic import BaseModel

from outlast import Agent, Client, ToolContext, run_agent, tool


class Refund(BaseModel):
    """The desk pays."""

    amount_usd: float


class Shop:
    """The dependencies of a tool."""


@tool(effect="read")
def order_status(order_id: str) -> str:
    """Look an order up."""
    return order_id


@tool(effect="read")
async def in_shop(context: ToolContext[Shop], order_id: str) -> str:
    """Look an order up in a shop."""
    print(context.deps.name)  # type: ignore[attr-defined]
    return order_id


@tool(effect="destroy")  # type: ignore[arg-type]
def wrong_effect() -> str:
    """Have an effect that does not exist."""
    return ""


def not_a_tool() -> str:
    """Return nothing."""
    return ""


desk = Agent(name="desk", instructions="Pay.", tools=[order_status], output=Refund)
without_tool = Agent(name="desk", instructions="Pay.", tools=[not_a_tool])  # type: ignore[list-item]
wrong_limits = Agent(name="desk", instructions="Pay.", limits=3)  # type: ignore[call-overload]
wrong_output = Agent(name="desk", instructions="Pay.", output=3)  # type: ignore[call-overload]


async def call(client: Client) -> None:
    """Use results and tools wrongly."""
    result = await client.run(desk, "go")
    print(result.output.amount)  # type: ignore[attr-defined]
    _text: str = result.output  # type: ignore[assignment]
    print((await client.run("desk", "go")).output.amount_usd)  # type: ignore[union-attr]
    print((await run_agent(desk, "go")).output.amount)  # type: ignore[attr-defined]
    await client.start(desk, "go", limits="few")  # type: ignore[arg-type]
    context = ToolContext()
    await in_shop(context, "A-1")  # type: ignore[arg-type]
    order_status(3)  # type: ignore[arg-type]

# pyright: strict, reportUnnecessaryTypeIgnoreComment=true
"""Dependencies of agents and tools, as type checkers read them. `make check` checks it; it never runs."""

from collections.abc import AsyncIterator, Iterator
from typing import Protocol, assert_type

from outlast import Agent, ToolContext, dependency, tool


class Reader(Protocol):
    """What some tools need."""

    async def find(self, order_id: str) -> str:
        """Find an order."""
        ...


class Shop:
    """What other tools need. It is a `Reader`."""

    async def find(self, order_id: str) -> str:
        """Find an order."""
        return order_id

    async def pay(self, order_id: str) -> str:
        """Pay."""
        return order_id


class Bank:
    """Something else."""


@dependency
async def shop() -> AsyncIterator[Shop]:
    """Open a shop."""
    yield Shop()


@dependency
def bank() -> Iterator[Bank]:
    """Open a bank."""
    yield Bank()


@dependency
async def awaited() -> Shop:
    """Return a shop."""
    return Shop()


@dependency
def returned() -> Shop:
    """Return a shop."""
    return Shop()


@tool(effect="read")
async def find(context: ToolContext[Reader], order_id: str) -> str:
    """Find an order."""
    return await context.deps.find(order_id)


@tool(effect="write")
async def pay(context: ToolContext[Shop], order_id: str) -> str:
    """Pay an order."""
    return await context.deps.pay(order_id)


@tool(effect="read")
def now() -> str:
    """Return the time."""
    return "12:00"


desk = Agent(name="desk", instructions="Pay.", tools=[find, pay, now], deps=shop)
assert_type(desk, Agent[Shop, str])
assert_type(Agent(name="a", instructions="Pay.", tools=[pay], deps=awaited), Agent[Shop, str])
assert_type(Agent(name="a", instructions="Pay.", tools=[pay], deps=returned), Agent[Shop, str])
boss = Agent(name="boss", instructions="Lead.", tools=[desk, now])

wrong = Agent(name="desk", instructions="Pay.", tools=[now, pay], deps=bank)  # type: ignore[list-item]
undecorated = Agent(name="desk", instructions="Pay.", tools=[pay], deps=Shop())  # type: ignore[call-overload]


@dependency  # type: ignore[arg-type]
async def with_argument(url: str) -> AsyncIterator[Shop]:
    """Need an argument."""
    yield Shop()


async def test_pay() -> None:
    """Test a tool."""
    assert_type(await pay(ToolContext(deps=Shop()), "A-1"), str)
    await pay(ToolContext(deps=Bank()), "A-1")  # type: ignore[arg-type]

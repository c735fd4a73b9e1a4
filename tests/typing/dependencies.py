# pyright: strict, reportUnnecessaryTypeIgnoreComment=true
"""Dependencies of agents and tools, as type checkers read them. `make check` checks it; it never runs."""

from collections.abc import AsyncIterator, Iterator
from typing import Protocol, assert_type

from outlast import Agent, AgentRequest, Retry, RunContext, ToolContext, dependency, tool


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


@desk.check
async def is_known(context: RunContext[Shop], answer: str) -> None:
    """Reject an unknown order."""
    if not await context.deps.find(answer):
        raise Retry("this order is unknown")


@desk.check
def is_readable(context: RunContext[Reader], answer: str) -> None:
    """Need less than the agent has."""


@desk.check
def is_short(answer: str) -> None:
    """Need nothing."""


@desk.check
def of_run(context: RunContext, answer: str) -> None:
    """Need the run, and no dependencies."""


@desk.check  # type: ignore[call-overload]
def of_another(context: RunContext[Bank], answer: str) -> None:
    """Need what the agent does not have."""


@desk.check  # type: ignore[call-overload]
def of_number(context: RunContext[Shop], answer: int) -> None:
    """Check another type."""


async def greeting(context: RunContext[Shop], request: AgentRequest) -> str:
    """Write instructions with what the shop knows."""
    return await context.deps.find(request.tenant)


assert_type(Agent(name="a", instructions=greeting, deps=shop), Agent[Shop, str])
assert_type(Agent(name="a", instructions=greeting, output=int, deps=shop), Agent[Shop, int])


def for_tenant(context: RunContext, request: AgentRequest) -> str:
    """Need the run, and no dependencies."""
    return context.tenant


assert_type(Agent(name="a", instructions=for_tenant), Agent[None, str])
misled = Agent(name="a", instructions=greeting, deps=bank)  # type: ignore[arg-type]


@dependency  # type: ignore[arg-type]
async def with_argument(url: str) -> AsyncIterator[Shop]:
    """Need an argument."""
    yield Shop()


async def test_pay() -> None:
    """Test a tool."""
    assert_type(await pay(ToolContext(deps=Shop()), "A-1"), str)
    await pay(ToolContext(deps=Bank()), "A-1")  # type: ignore[arg-type]

"""Agents whose tools, checks and instructions share a dependency."""

import asyncio
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from outlast import (
    Agent,
    AgentRequest,
    Retry,
    RunContext,
    ToolContext,
    dependency,
    tool,
)

EVENTS: list[str] = []


@dataclass
class Shop:
    """What the tools of the tests need. It belongs to an event loop, as connections do."""

    name: str = "shop"
    loop: asyncio.AbstractEventLoop | None = None
    tasks: list[int] = field(default_factory=list)


@dependency
async def shop() -> AsyncIterator[Shop]:
    """Open a shop, in a task group, which must be closed by the task that opened it."""
    EVENTS.append("open")
    async with asyncio.TaskGroup() as group:
        group.create_task(asyncio.sleep(0))
        yield Shop(loop=asyncio.get_running_loop())
    EVENTS.append("close")


@tool(effect="read")
async def look(context: ToolContext[Shop], item: str) -> str:
    """Look an item up."""
    assert context.deps.loop is asyncio.get_running_loop()
    return f"{item} in {context.deps.name}"


@tool(effect="read")
def count(context: ToolContext[Shop]) -> str:
    """Count, in a thread."""
    return f"{context.deps.name} from {threading.current_thread().name}"


@tool(effect="read")
async def plain() -> str:
    """Need nothing."""
    return "plain"


KEEPER = Agent(name="keeper", instructions="Keep.", tools=[look, count, plain], deps=shop)


def context() -> ToolContext:
    return ToolContext(call_id="1.1")


@dataclass
class Order:
    """An answer that names an order."""

    order: str


def desk(check: Any, instructions: Any) -> Agent[Any, Any]:
    agent = Agent(name="desk", instructions=instructions, output=Order, deps=shop)
    agent.check(check)
    return agent


async def greet(context: RunContext[Shop], request: AgentRequest) -> str:
    assert context.deps.loop is asyncio.get_running_loop()
    return f"You work at {context.deps.name} for {context.tenant}: {request.input}."


def greet_in_thread(context: RunContext[Shop], request: AgentRequest) -> str:
    return f"You work at {context.deps.name} for {context.tenant}: {request.input}."


async def is_known(context: RunContext[Shop], answer: Order) -> None:
    assert context.deps.loop is asyncio.get_running_loop()
    if answer.order != f"{context.deps.name}-1":
        raise Retry(f"{context.tenant} has no order {answer.order}")


def is_known_in_thread(context: RunContext[Shop], answer: Order) -> None:
    if answer.order != f"{context.deps.name}-1":
        raise Retry(f"{context.tenant} has no order {answer.order}")

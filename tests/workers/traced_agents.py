"""Agents whose runs the tests of traces look at."""

from outlast import Agent, Approval, ToolError, tool


@tool(effect="read")
async def look_up(order: str) -> str:
    """Look an order up."""
    return f"{order} CANARY-RESULT"


@tool(effect="read")
async def lose(order: str) -> str:
    """Fail."""
    raise ToolError(f"no {order} CANARY-ERROR")


@tool(effect="irreversible", approval=Approval(audience="leads"))
async def refund(order: str) -> str:
    """Refund an order."""
    return order


helper = Agent(name="helper", instructions="Help.", tools=[look_up])
clerk = Agent(
    name="clerk", instructions="CANARY-INSTRUCTIONS", tools=[look_up, lose, refund, helper]
)

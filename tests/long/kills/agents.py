"""Agents whose tools make effects at a ledger, served in worker processes that tests kill."""

import asyncio
from datetime import timedelta

from outlast import Agent, ToolContext, ask_human, tool
from tests.long.kills.ledger import ask, make


@tool(effect="read")
async def find_transfer(context: ToolContext, order_id: str, port: int) -> str | None:
    """Find a transfer."""
    return "transferred" if await ask(context, port, "find", order_id) else None


@tool(effect="write", verify=find_transfer)
async def transfer_verified(context: ToolContext, order_id: str, port: int) -> str:
    """Transfer money at a bank that can verify it."""
    await make(context, port, order_id)
    return "transferred"


@tool(effect="write")
async def transfer_unverified(context: ToolContext, order_id: str, port: int) -> str:
    """Transfer money at a bank that cannot verify it."""
    await make(context, port, order_id)
    return "transferred"


@tool(effect="read", timeout=timedelta(seconds=8))
async def check_balance() -> str:
    """Check the balance. It is short enough for a local activity, and long enough to be killed."""
    await asyncio.sleep(1)
    return "enough"


@tool(effect="idempotent")
async def cancel(context: ToolContext, thing: str, port: int) -> None:
    """Cancel a booking; the receiver tells a repeat by its key."""
    await make(context, port, f"cancel {thing}")


@tool(effect="write", compensate=cancel)
async def book(context: ToolContext, thing: str, port: int) -> str:
    """Book a thing."""
    await make(context, port, f"book {thing}")
    return f"booked {thing}"


@tool(effect="write")
async def cancel_once(context: ToolContext, thing: str, port: int) -> None:
    """Cancel a booking; the receiver cannot tell a repeat."""
    await make(context, port, f"cancel {thing}")


@tool(effect="write", compensate=cancel_once)
async def book_unrepeatably(context: ToolContext, thing: str, port: int) -> str:
    """Book a thing whose cancellation is no more repeatable than the booking."""
    await make(context, port, f"book {thing}")
    return f"booked {thing}"


@tool(effect="write")
async def charge(context: ToolContext, port: int) -> str:
    """Charge a card."""
    await make(context, port, "charge")
    raise ValueError("declined")


payer = Agent(
    name="payer", instructions="Pay.", tools=[transfer_verified, transfer_unverified, check_balance]
)
traveller = Agent(name="traveller", instructions="Travel.", tools=[book, book_unrepeatably, charge])

cashier = Agent(
    name="cashier",
    instructions="Pay, then ask people.",
    tools=[transfer_verified, ask_human(str, audience="leads")],
)

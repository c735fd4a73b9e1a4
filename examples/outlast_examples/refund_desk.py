"""A refund desk: it looks up an order, requests a refund that a person must approve, and answers."""

from typing import Annotated

from pydantic import BaseModel, Field

from outlast import Agent, Limits, ToolError, tool

Usd = Annotated[float, Field(ge=0, le=10_000)]
OrderId = Annotated[str, Field(pattern=r"^A-[0-9]{4}$", description="such as A-1042")]


class OrderStatus(BaseModel):
    """An order, as the shop knows it."""

    order_id: str
    item: str
    paid_usd: Usd
    state: str


class Receipt(BaseModel):
    """What the payment provider answers."""

    order_id: str
    refunded_usd: Usd


class Resolution(BaseModel):
    """How the desk leaves the customer."""

    refunded: bool
    message: str = Field(max_length=160, description="one friendly sentence to the customer")


# Two orders instead of a database.
ORDERS = {
    "A-1042": OrderStatus(
        order_id="A-1042", item="desk lamp", paid_usd=39.90, state="arrived broken"
    ),
    "A-1043": OrderStatus(order_id="A-1043", item="notebook", paid_usd=4.50, state="delivered"),
}


@tool(effect="read", max_calls=1)
async def order_status(order_id: OrderId) -> OrderStatus:
    """Look an order up: what was bought, for how much, and what became of it."""
    if order_id not in ORDERS:
        raise ToolError(f"there is no order {order_id!r}")
    return ORDERS[order_id]


@tool(effect="irreversible", approval="support-leads", max_calls=1)
async def refund(order_id: OrderId, amount_usd: Usd) -> Receipt:
    """Pay an order's money back. It cannot be undone, so a support lead approves each one."""
    order = await order_status(order_id)
    if amount_usd > order.paid_usd:
        raise ToolError(f"{amount_usd} is more than the {order.paid_usd} that was paid")
    return Receipt(order_id=order_id, refunded_usd=amount_usd)


# Small models follow an example better than instructions.
INSTRUCTIONS = """\
You are the refund desk of a shop. Look up the order with order_status. If it arrived broken or was lost, \
pay it back with refund: the amount that was paid, once. Then answer the customer in one friendly sentence.

Example:
My order A-9001 was lost. I want my money back.
{"tool_calls":[{"tool":"order_status","arguments":{"order_id":"A-9001"}}]}
{"tool":"order_status","result":{"order_id":"A-9001","item":"cup","paid_usd":12.75,"state":"lost"}}
{"tool_calls":[{"tool":"refund","arguments":{"order_id":"A-9001","amount_usd":12.75}}]}
{"tool":"refund","result":{"order_id":"A-9001","refunded_usd":12.75}}
{"answer":{"refunded":true,"message":"We are sorry. We refunded 12.75 USD for your order A-9001."}}"""

refund_desk = Agent(
    name="refund-desk",
    description="Handles a customer's wish for a refund.",
    instructions=INSTRUCTIONS,
    tools=[order_status, refund],
    begin_with=["order_status"],
    output=Resolution,
    limits=Limits(max_turns=5),
)

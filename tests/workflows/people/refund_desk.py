"""An agent whose refunds need an approval."""

from outlast import Agent, Approval, ToolError, tool

paid: list[str] = []


@tool(effect="irreversible", approval=Approval(audience="support-leads", expires_s=3600))
def refund(order_id: str) -> str:
    """Refund an order."""
    if order_id == "unknown":
        raise ToolError("there is no order 'unknown'")
    paid.append(order_id)
    return f"refunded {order_id}"


desk = Agent(name="desk", instructions="Refund.", tools=[refund])

"""The agents that a gateway process serves in tests."""

from outlast import Agent, Approval, ask_human, tool


@tool(effect="irreversible", approval=Approval(audience="leads"))
def refund(order_id: str) -> str:
    """Refund an order."""
    return f"refunded {order_id}"


desk = Agent(name="desk", instructions="Help people.", tools=[refund])
asker = Agent(name="asker", instructions="Ask people.", tools=[ask_human(str, audience="leads")])

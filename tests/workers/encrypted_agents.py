"""An agent whose input, arguments, results, messages and answers hold secrets."""

from outlast import Agent, tool


@tool(effect="write")
def pay(note: str) -> str:
    """Pay. CANARY-TOOL"""
    return f"CANARY-RESULT for {note}"


payer = Agent("payer", "Pay. CANARY-INSTRUCTIONS", tools=[pay])

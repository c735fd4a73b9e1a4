"""An agent whose tools are TypeScript, in examples/typescript-tools: here they are names and schemas."""

from outlast import Agent, Approval, Leg, Route, ToolSpec

TYPESCRIPT = Route(legs=(Leg(task_queue="typescript-tools"),))
"""The task queue of the TypeScript worker."""

stock_level = ToolSpec(
    name="stock_level",
    description="Look up how many of an item are in stock.",
    parameters={
        "type": "object",
        "properties": {"item": {"type": "string"}},
        "required": ["item"],
        "additionalProperties": False,
    },
    effect="read",
    heartbeats=True,
    route=TYPESCRIPT,
)

count_stock = ToolSpec(
    name="count_stock",
    description="Count all items by hand, which takes some seconds.",
    parameters={
        "type": "object",
        "properties": {"seconds": {"type": "integer", "minimum": 1, "maximum": 600}},
        "required": ["seconds"],
        "additionalProperties": False,
    },
    effect="read",
    timeout_s=900,
    heartbeats=True,
    route=TYPESCRIPT,
)

order_stock = ToolSpec(
    name="order_stock",
    description="Order more of an item.",
    parameters={
        "type": "object",
        "properties": {"item": {"type": "string"}, "count": {"type": "integer"}},
        "required": ["item", "count"],
        "additionalProperties": False,
    },
    effect="write",
    approval=Approval(audience="stock-leads"),
    heartbeats=True,
    route=TYPESCRIPT,
)

stock_desk = Agent(
    "stock-desk",
    "Keep the shop in stock. Order an item of which less than two are left.",
    tools=[stock_level, count_stock, order_stock],
)

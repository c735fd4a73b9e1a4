"""An agent without tools, whose answers are texts."""

from outlast import Agent

greeter = Agent("greeter", "Answer in one short sentence.")

"""An agent that asks questions, served beside the refund example."""

from typing import Literal

from pydantic import BaseModel

from outlast import Agent, ask_human


class Choice(BaseModel):
    colour: Literal["red", "blue"]


which_colour = ask_human(Choice, audience="designers")
painter = Agent(name="painter", instructions="Paint.", tools=[which_colour])

"""The agent of the suite. Its model answers as fast as the input says."""

from outlast import Agent

desk = Agent(name="desk", instructions="Answer.")

"""Agents that race, served in a worker process that a test kills."""

from outlast import Agent, race

fast = Agent("fast", "I am fast.")
slow = Agent("slow", "I am slow.")
lead = Agent("lead", "I am lead.", [race(fast, slow, slow)])

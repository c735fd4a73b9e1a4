"""The calls of a decision: tools, called agents, local calls, effects and their compensation."""

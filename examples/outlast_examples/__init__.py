"""Example agents to read first."""

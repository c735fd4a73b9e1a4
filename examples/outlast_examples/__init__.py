"""Agents that a newcomer reads first."""

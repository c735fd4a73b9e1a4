"""Definitions of agents and tools, and what a tool receives when it runs."""

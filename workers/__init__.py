"""Processes that serve workflows and activities: `python -m workers`."""

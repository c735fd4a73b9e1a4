"""Processes that serve workflows and activities: `outlast worker`."""

"""Builds of a worker deployment: the list of them, and the promotion of a new one."""

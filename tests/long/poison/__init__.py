"""Inputs and tools that would stop a worker, while health and other runs are watched."""

"""Calls of A2A agents by pipelines."""

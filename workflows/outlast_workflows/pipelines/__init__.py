"""Runs of pipelines: the workflow, the interpreter of tasks, and their calls."""

"""HTTP calls of pipelines: where they may go, and what they send and return."""

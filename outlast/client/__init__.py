"""The client: start runs, follow and steer them, and decide their requests."""

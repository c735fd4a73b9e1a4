"""Calls of HTTP APIs: requests from arguments, connections and answers."""

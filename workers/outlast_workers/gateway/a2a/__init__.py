"""The interface for other agents: A2A 1.0 over JSON-RPC."""

"""Code around the Temporal SDK: its plugin, headers, queries, updates, connection and errors."""

"""The gateway: HTTP interfaces to runs, for clients that do not use Temporal."""

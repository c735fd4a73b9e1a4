"""Adapters of model servers, one file per API, and their registry. Only `outlast_workers` imports them."""

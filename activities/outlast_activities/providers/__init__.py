"""Adapters with heavy imports; only `workers` imports them."""

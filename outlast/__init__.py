"""Durable agents on Temporal."""

"""Deterministic code: one workflow a file, helpers in plain classes."""

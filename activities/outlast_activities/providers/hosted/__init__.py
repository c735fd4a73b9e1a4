"""Adapters of hosted APIs, and what they share: server, prompts and answers."""

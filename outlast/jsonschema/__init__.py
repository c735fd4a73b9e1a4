"""JSON Schemas of types and of decisions, and their checks."""
